//! What a GiB costs here and with Debian's nginx, in one run.
//!
//! Servers share one core and take turns, workload by workload, round by round; the generator has another core. Two
//! equal nginx show how far two equal servers seem to differ. Where the machine allows it, all of this runs in a
//! network of its own whose loopback behaves like Ethernet: packets of 1,500 bytes, cubic.

#![expect(clippy::print_stdout, reason = "results are what this program is for")]

use antiphon_bench::cpu;
use antiphon_bench::load::{Load, Plan, Protocol, fill};
use antiphon_bench::stage::{HOST, OBJECT_LEN, Server, Stage, serve_origin};
use antiphon_bench::table::{Samples, print};
use antiphon_core::UnixTime;
use anyhow::{Context, Result};
use clap::Parser;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// CPU seconds per GiB of antiphon-edge and nginx, side by side.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    /// The edge. Default: the one of the `dist` profile if it was built, else that of `release`.
    #[arg(long)]
    edge: Option<PathBuf>,
    /// Another build of the edge, measured twice in place of nginx: whether a change was worth it.
    #[arg(long)]
    rival: Option<PathBuf>,
    /// Only ranges of this many KiB.
    #[arg(long)]
    range_kib: Option<u64>,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    secs: f64,
    /// Seconds before each.
    #[arg(long, default_value_t = 0.3)]
    warm_secs: f64,
    /// Connections of HTTP/1.1.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// MiB of every object that are asked from. Little stays in the processor's caches, all of it does not.
    #[arg(long, default_value_t = OBJECT_LEN >> 20, value_parser = clap::value_parser!(u64).range(1..=OBJECT_LEN >> 20))]
    span_mib: u64,
    /// Only this protocol.
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
}

/// Protocol and range length.
type Workload = (Protocol, u64);

/// One cell of the table.
#[derive(Default)]
struct Cell {
    cpu: Samples,
    speed: Samples,
}

/// Set for the copy of this program that runs in a network of its own.
const ISOLATED: &str = "ANTIPHON_BENCH_ISOLATED";
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// HTTP/2 and HTTP/3: connections, and requests at a time on each.
const MULTIPLEXED: (usize, usize) = (4, 4);
const RANGES: [u64; 2] = [64 * 1024, 1024 * 1024];
const GIB: f64 = (1_u64 << 30) as f64;

fn main() -> Result<()> {
    // An error means that one is installed already, which is all we ask.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let args = Args::parse();
    if std::env::var_os(ISOLATED).is_none() {
        isolate();
    }
    let network = prepare_network();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&args, &network))
}

/// Becomes the same program in namespaces of its own, on the generator's core. Returns only if that cannot be had.
fn isolate() {
    let Ok(program) = std::env::current_exe() else { return };
    let inside =
        Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|status| status.success());
    let core = CLIENT_CORE.to_string();
    let mut command = if inside {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
        command.args(["taskset", "-c", &core]);
        command
    } else {
        let mut command = Command::new("taskset");
        command.args(["-c", &core]);
        command
    };
    command.arg(program).args(std::env::args_os().skip(1)).env(ISOLATED, if inside { "1" } else { "0" });
    let error = command.exec();
    eprintln!("side-by-side: not pinned to a core: {error}");
}

/// Makes the loopback of our own network behave like Ethernet. Says what the network is like.
fn prepare_network() -> String {
    if std::env::var_os(ISOLATED).is_none_or(|isolated| isolated != "1") {
        return "the machine's own loopback".to_owned();
    }
    let ip =
        |line: &str| Command::new("ip").args(line.split(' ')).status().is_ok_and(|status| status.success());
    let up = ip("link set lo mtu 1500 up");
    let cubic = ["127.0.0.0/8", "127.0.0.1"].iter().all(|range| {
        ip(&format!("route replace local {range} dev lo table local proto kernel scope host src 127.0.0.1 congctl cubic"))
    });
    let cubic = if cubic { "cubic" } else { "default congestion control" };
    let mtu = if up { "MTU 1500" } else { "default MTU" };
    format!("network namespace, loopback with {mtu}, {cubic}")
}

async fn run(args: &Args, network: &str) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?.as_secs();
    let cores = std::fs::read_to_string("/proc/cpuinfo")?.matches("processor\t").count();
    let stage = Stage::set((cores > CLIENT_CORE).then_some(SERVER_CORE), UnixTime(now))?;
    let (origin, _origin_tasks) = serve_origin(stage.objects.all.clone()).await?;
    let edge = edge_binary(args)?;
    let servers = match &args.rival {
        Some(rival) => vec![
            stage.edge("antiphon-edge", &edge, origin)?,
            stage.edge("rival-a", rival, origin)?,
            stage.edge("rival-b", rival, origin)?,
        ],
        None => vec![
            stage.edge("antiphon-edge", &edge, origin)?,
            stage.nginx_static("nginx-a")?,
            stage.nginx_static("nginx-b")?,
            stage.nginx_cache("nginx-cache", origin)?,
        ],
    };
    for server in &servers {
        fill(&plan(&stage, server, (Protocol::H1, RANGES[1]), 0, 1))
            .await
            .with_context(|| format!("fill {}", server.name))?;
    }
    let workloads: Vec<Workload> = [Protocol::H1, Protocol::H2, Protocol::H3]
        .into_iter()
        .filter(|protocol| args.protocol.is_none_or(|only| only == *protocol))
        .flat_map(|protocol| RANGES.map(|range| (protocol, range)))
        .filter(|(_, range)| args.range_kib.is_none_or(|only| only * 1024 == *range))
        .collect();
    let mut cells: Vec<Vec<Cell>> =
        workloads.iter().map(|_| servers.iter().map(|_| Cell::default()).collect()).collect();
    for round in 0..args.rounds {
        for (row, workload) in workloads.iter().enumerate() {
            for turn in 0..servers.len() {
                // Another one begins in every round.
                let column = (turn + round as usize) % servers.len();
                let server = &servers[column];
                if workload.0 == Protocol::H3 && !server.speaks_h3 {
                    continue;
                }
                let (cpu, speed) =
                    measure(args, &stage, server, *workload, round).await.with_context(|| {
                        format!(
                            "measure {} over {} with {} bytes",
                            server.name,
                            workload.0.name(),
                            workload.1
                        )
                    })?;
                cells[row][column].cpu.push(cpu);
                cells[row][column].speed.push(speed);
            }
        }
        eprintln!("side-by-side: round {} of {} is done", round + 1, args.rounds);
    }
    report(args, network, &edge, stage.objects.signed.len(), &servers, &workloads, &cells);
    Ok(())
}

/// CPU seconds per GiB, and GiB per second.
async fn measure(
    args: &Args,
    stage: &Stage,
    server: &Server,
    workload: Workload,
    round: u64,
) -> Result<(f64, f64)> {
    let plan = plan(stage, server, workload, round + 1, args.connections);
    let mut load = Load::start(Plan { object_len: args.span_mib << 20, ..plan })?;
    load.go_on(Duration::from_secs_f64(args.warm_secs)).await?;
    let (before, busy) = (load.count(), cpu::time_of_tree(server.pid())?);
    load.go_on(Duration::from_secs_f64(args.secs)).await?;
    let (after, busier) = (load.count(), cpu::time_of_tree(server.pid())?);
    load.stop().await?;
    let gib = (after.bytes - before.bytes) as f64 / GIB;
    anyhow::ensure!(gib > 0.0, "nothing came");
    Ok(((busier - busy).as_secs_f64() / gib, gib / args.secs))
}

fn plan(
    stage: &Stage,
    server: &Server,
    (protocol, range_len): Workload,
    seed: u64,
    connections: usize,
) -> Plan {
    let (connections, streams) = if protocol == Protocol::H1 { (connections, 1) } else { MULTIPLEXED };
    Plan {
        protocol,
        address: server.address,
        host: HOST.to_owned(),
        root: stage.root.clone(),
        targets: stage.objects.signed.clone(),
        object_len: OBJECT_LEN,
        range_len,
        connections,
        streams,
        seed,
    }
}

/// The binary beside this one, or in the folder of the `dist` profile.
fn edge_binary(args: &Args) -> Result<PathBuf> {
    if let Some(edge) = &args.edge {
        return Ok(edge.clone());
    }
    let here = std::env::current_exe().context("find the binaries")?;
    let folder = here.parent().and_then(|folder| folder.parent()).context("find the binaries")?;
    let built = ["dist", "release"].map(|profile| folder.join(profile).join("antiphon-edge"));
    built
        .into_iter()
        .find(|file| file.is_file())
        .context("build the edge first: cargo build --profile dist -p antiphon-edge")
}

fn report(
    args: &Args,
    network: &str,
    edge: &std::path::Path,
    objects: usize,
    servers: &[Server],
    workloads: &[Workload],
    cells: &[Vec<Cell>],
) {
    println!("Machine: {}", machine());
    println!("Network: {network}. Servers on core {SERVER_CORE}, generator on core {CLIENT_CORE}.");
    println!(
        "Edge: {} profile.",
        edge.parent().and_then(|folder| folder.file_name()).map_or("?".into(), |name| name.to_string_lossy())
    );
    println!("nginx: {}.", said_by(Command::new("nginx").arg("-v")));
    let (connections, streams) = MULTIPLEXED;
    println!(
        "Load: {} rounds of {} s, H1 {} connections, H2 and H3 {connections} x {streams} requests, {} objects, {} MiB of each.\n",
        args.rounds, args.secs, args.connections, objects, args.span_mib,
    );
    println!("CPU seconds per GiB, median (min-max):\n");
    table(servers, workloads, cells, |cell| &cell.cpu, true);
    println!("\nGiB per second, median (min-max):\n");
    table(servers, workloads, cells, |cell| &cell.speed, false);
}

fn table(
    servers: &[Server],
    workloads: &[Workload],
    cells: &[Vec<Cell>],
    figure: fn(&Cell) -> &Samples,
    compare: bool,
) {
    let mut head = vec!["range".to_owned()];
    head.extend(servers.iter().map(|server| server.name.to_owned()));
    if compare {
        head.extend(["edge / best", "by the least", "a / b"].map(str::to_owned));
    }
    let mut rows = vec![head];
    for ((protocol, range), cells) in workloads.iter().zip(cells) {
        let mut row = vec![format!("{} {} KiB", protocol.name(), range / 1024)];
        row.extend(cells.iter().map(|cell| figure(cell).to_string()));
        if compare {
            row.extend(ratios(&cells.iter().map(figure).collect::<Vec<_>>()));
        }
        rows.push(row);
    }
    print(&rows);
}

/// Ours to the best of nginx's, and nginx's to its equal, by medians. What else runs on a machine only adds to a
/// figure, so the least figures of both are compared as well.
fn ratios(columns: &[&Samples]) -> [String; 3] {
    let medians: Vec<Option<f64>> = columns.iter().map(|samples| samples.median()).collect();
    let least: Vec<Option<f64>> =
        columns.iter().map(|samples| samples.spread().map(|(least, _)| least)).collect();
    let shown = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    let ours = |figures: &[Option<f64>]| {
        let best = figures.iter().skip(1).flatten().copied().min_by(f64::total_cmp);
        figures.first().copied().flatten().zip(best).map(|(ours, best)| ours / best)
    };
    let equals = medians.get(1).copied().flatten().zip(medians.get(2).copied().flatten()).map(|(a, b)| a / b);
    [shown(ours(&medians)), shown(ours(&least)), shown(equals)]
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("?").to_owned();
    format!(
        "{model}, {} cores, {}",
        cpu.matches("processor\t").count(),
        said_by(Command::new("uname").arg("-sr"))
    )
}

fn said_by(command: &mut Command) -> String {
    let output = command.output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
