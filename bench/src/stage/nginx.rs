//! nginx's configuration, tuned for large bodies over TLS.

use std::net::SocketAddr;
use std::path::Path;

/// One worker on the measured core; TLS 1.3 with AES-128-GCM only; files open, connections kept; no access log.
pub(super) fn config(dir: &Path, home: &Path, site: &str) -> String {
    let (dir, home) = (dir.display(), home.display());
    format!(
        "user root;
worker_processes 1;
daemon off;
pid {home}/nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 4096; multi_accept on; }}
http {{
    sendfile on;
    sendfile_max_chunk 2m;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 300;
    keepalive_requests 100000000;
    reset_timedout_connection on;
    access_log off;
    server_tokens off;
    types {{ audio/mp4 mp4; }}
    open_file_cache max=20000 inactive=1h;
    open_file_cache_valid 1h;
    ssl_certificate {dir}/cert.pem;
    ssl_certificate_key {dir}/key.pem;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_session_cache shared:tls:16m;
    ssl_buffer_size 16k;
    # Without kernel TLS a file is read into these before it is encrypted.
    output_buffers 2 128k;
    # The largest HTTP/2 frame every client accepts.
    http2_chunk_size 16k;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
{site}}}
"
    )
}

/// The files themselves, from memory.
pub(super) fn static_site(dir: &Path, address: SocketAddr) -> String {
    format!(
        "    server {{
        listen {address} ssl http2 backlog=4096;
        root {}/files;
    }}
",
        dir.display()
    )
}

/// A cache of 256 KiB slices in memory.
pub(super) fn cache(dir: &Path, address: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "    proxy_cache_path {dir}/cache levels=1:2 keys_zone=c:64m max_size=2g inactive=7d use_temp_path=off;
    upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen {address} ssl http2 backlog=4096;
        location / {{
            slice 256k;
            proxy_cache c;
            proxy_cache_key $uri$slice_range;
            proxy_set_header Range $slice_range;
            proxy_set_header Connection \"\";
            proxy_http_version 1.1;
            proxy_cache_valid 200 206 1d;
            proxy_cache_lock on;
            proxy_buffers 64 16k;
            proxy_pass http://origin;
        }}
    }}
",
        dir = dir.display()
    )
}
