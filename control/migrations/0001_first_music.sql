-- One text for SQLite and PostgreSQL: BIGINT milliseconds since 1970, ids made by the application.

CREATE TABLE songs (
    song_id          TEXT    NOT NULL PRIMARY KEY,
    title            TEXT    NOT NULL,
    artist           TEXT,
    album            TEXT,
    asset            TEXT    NOT NULL,
    duration_ms      BIGINT  NOT NULL,
    -- Names of renditions by rising bit rate, joined by commas.
    renditions       TEXT    NOT NULL,
    integrated_lufs  DOUBLE PRECISION,
    true_peak_dbtp   DOUBLE PRECISION,
    timescale        BIGINT  NOT NULL,
    priming          BIGINT  NOT NULL,
    play             BIGINT  NOT NULL,
    source_sha256    TEXT    NOT NULL,
    created_ms       BIGINT  NOT NULL,
    updated_ms       BIGINT  NOT NULL
);

CREATE TABLE devices (
    listener_id      TEXT    NOT NULL,
    device_id        TEXT    NOT NULL,
    first_seen_ms    BIGINT  NOT NULL,
    last_seen_ms     BIGINT  NOT NULL,
    PRIMARY KEY (listener_id, device_id)
);

CREATE INDEX devices_by_last_seen ON devices (last_seen_ms);

CREATE TABLE sessions (
    session_id       TEXT    NOT NULL PRIMARY KEY,
    listener_id      TEXT    NOT NULL,
    device_id        TEXT    NOT NULL,
    song_id          TEXT    NOT NULL,
    asset            TEXT    NOT NULL,
    epoch            BIGINT  NOT NULL,
    max_kbps         BIGINT  NOT NULL,
    started_ms       BIGINT  NOT NULL,
    expires_ms       BIGINT  NOT NULL,
    position_ms      BIGINT  NOT NULL DEFAULT 0,
    -- The most that was ever reported: reports may arrive late and out of order.
    heard_ms         BIGINT  NOT NULL DEFAULT 0,
    buffering_events BIGINT  NOT NULL DEFAULT 0,
    quality_switches BIGINT  NOT NULL DEFAULT 0,
    -- When the play was counted; once set, never again.
    counted_ms       BIGINT
);

CREATE INDEX sessions_by_start ON sessions (started_ms);

-- Plays of a song on a day, UTC; the day is its number since 1970.
CREATE TABLE plays (
    song_id          TEXT    NOT NULL,
    day              BIGINT  NOT NULL,
    plays            BIGINT  NOT NULL,
    PRIMARY KEY (song_id, day)
);
