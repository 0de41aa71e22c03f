//! Any evening of listening, compared with a plain map of what upstream ever had.

use crate::volumes::{Drawer, config};
use crate::world::{Answer, CHUNK, Fault, World, content};
use antiphon_cache::disk::sim::Dice;
use antiphon_cache::{CacheConfig, FetchError, ObjName, RangeReply, UpstreamError};
use antiphon_core::{ByteSize, RangeSpec};
use proptest::prelude::*;
use std::collections::HashMap;

#[derive(Clone, Debug)]
enum Step {
    Get { object: u8, range: Option<RangeSpec> },
    Put { object: u8, len: u64 },
    Remove { object: u8 },
    Fail(Fault),
    PowerCut(u64),
}

fn any_range() -> impl Strategy<Value = Option<RangeSpec>> {
    let at = 0..6 * CHUNK;
    let len = prop_oneof![0..10_u64, CHUNK - 2..CHUNK + 2, 0..4 * CHUNK];
    prop_oneof![
        Just(None),
        at.clone().prop_map(|first| Some(RangeSpec::From { first })),
        (0..5 * CHUNK).prop_map(|count| Some(RangeSpec::Last { count })),
        (at, len).prop_map(|(first, len)| Some(RangeSpec::Between { first, last: first + len })),
    ]
}

fn any_len() -> impl Strategy<Value = u64> {
    prop_oneof![0..3_u64, CHUNK - 1..CHUNK + 2, 4 * CHUNK..4 * CHUNK + 1, 0..5 * CHUNK]
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0..CHUNK * 2).prop_map(Fault::DiesAfter),
        (0..CHUNK * 2).prop_map(Fault::EndsAfter),
        Just(Fault::OneTooMany),
        Just(Fault::WrongDigest),
        Just(Fault::WrongSpan),
        Just(Fault::Status(503)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_u8, any_range()).prop_map(|(object, range)| Step::Get { object, range }),
        2 => (0..4_u8, any_len()).prop_map(|(object, len)| Step::Put { object, len }),
        1 => (0..4_u8).prop_map(|object| Step::Remove { object }),
        2 => any_fault().prop_map(Step::Fail),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ]
}

/// Every version that ever was: number to length.
type Versions = HashMap<u32, u64>;

async fn evening(steps: Vec<Step>, volumes: &[&str]) -> Result<(), TestCaseError> {
    let config = CacheConfig { capacity_bytes: ByteSize::mib(4), negative_secs: 0, ..config(volumes) };
    let mut drawer = Drawer::new(&config);
    let mut world = World::over(config, false, drawer.media());
    let mut ever: HashMap<u8, Versions> = HashMap::new();
    let mut version = 0;
    for step in steps {
        match step {
            Step::Put { object, len } => {
                version += 1;
                world.upstream.put(&format!("/{object}"), version, len);
                ever.entry(object).or_default().insert(version, len);
            }
            Step::Remove { object } => world.upstream.remove(&format!("/{object}")),
            Step::Fail(fault) => world.upstream.fail([fault]),
            Step::PowerCut(seed) => {
                drawer = drawer.crash(&mut Dice::new(seed));
                world = world.reborn(drawer.media());
            }
            Step::Get { object, range } => {
                let name = format!("/{object}");
                let reply = world.cache.get(&ObjName::new(&name), range).await;
                look(&name, range, reply, ever.get(&object)).await?;
            }
        }
        prop_assert!(world.cache.stats().used_bytes <= 4 << 20);
    }
    prop_assert_eq!(world.cache.stats().flights, 0);
    Ok(())
}

/// An answer is the range of one version that was there once, to the byte; or it ends in an error.
async fn look(
    name: &str,
    range: Option<RangeSpec>,
    reply: Result<RangeReply, FetchError>,
    versions: Option<&Versions>,
) -> Result<(), TestCaseError> {
    let reply = match reply {
        Err(FetchError::Upstream(UpstreamError::Missing)) => return Ok(()),
        Err(_) => return Ok(()),
        Ok(reply) => reply,
    };
    let Some(versions) = versions else {
        return Err(TestCaseError::fail("bytes of an object that never was"));
    };
    let unsatisfiable = matches!(reply, RangeReply::Unsatisfiable { .. });
    let Ok(answer) = Answer::of(reply).await else { return Ok(()) };
    let version: u32 = answer.etag.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    let len = versions[&version];
    let want = range.map_or(antiphon_core::Span::whole(len), |range| range.resolve(len));
    prop_assert_eq!(unsatisfiable, range.is_some() && want.is_none());
    prop_assert_eq!(answer.span, want);
    let all = content(name, version, len);
    let want = want.map_or(&[][..], |span| &all[span.start() as usize..span.end() as usize]);
    prop_assert!(answer.bytes == want, "bytes of version {} are not upstream's", version);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn every_answer_is_one_version_that_upstream_had(steps in prop::collection::vec(any_step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(evening(steps.clone(), &[]))?;
        runtime.block_on(evening(steps, &["a", "b"]))?;
    }
}
