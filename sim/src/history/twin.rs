//! The search against one too simple to be wrong: try every order of every choice of calls.

use super::search::{ABSENT, About, Class, Found, Must, State, Tasks, UNSEEN, Want, search};

/// Whether some order of all musts and some of the rest explains all, tried one by one.
fn has_order(tasks: &Tasks) -> bool {
    let open: Vec<(u64, Option<u64>, State)> = tasks
        .classes
        .iter()
        .flat_map(|class| class.members.iter().map(|(begun, _)| (*begun, class.condition, class.effect)))
        .collect();
    extend(tasks, &open, &mut vec![false; tasks.musts.len()], &mut vec![false; open.len()], ABSENT)
}

fn extend(
    tasks: &Tasks,
    open: &[(u64, Option<u64>, State)],
    musts_placed: &mut [bool],
    open_placed: &mut [bool],
    state: State,
) -> bool {
    if musts_placed.iter().all(|placed| *placed) {
        return true;
    }
    let waiting = tasks.musts.iter().zip(&*musts_placed).filter(|(_, placed)| !**placed);
    let first_end = waiting.map(|(must, _)| must.ended).min().expect("one is not placed");
    for at in 0..tasks.musts.len() {
        let must = &tasks.musts[at];
        if !musts_placed[at] && must.begun < first_end && fits(tasks, must.want, must.condition, state) {
            musts_placed[at] = true;
            let after = must.effect.unwrap_or(state);
            if extend(tasks, open, musts_placed, open_placed, after) {
                return true;
            }
            musts_placed[at] = false;
        }
    }
    for (at, (begun, condition, effect)) in open.iter().enumerate() {
        if !open_placed[at] && *begun < first_end && fits(tasks, Want::Anything, *condition, state) {
            open_placed[at] = true;
            if extend(tasks, open, musts_placed, open_placed, *effect) {
                return true;
            }
            open_placed[at] = false;
        }
    }
    false
}

/// Written again, in other words than the search's.
fn fits(tasks: &Tasks, want: Want, condition: Option<u64>, state: State) -> bool {
    let About { value, revision } = tasks.states[state];
    if let Some(wanted) = condition {
        let may_be = if wanted == 0 { state == ABSENT } else { revision.unwrap_or(wanted) == wanted };
        if !may_be {
            return false;
        }
    }
    match want {
        Want::Anything => true,
        Want::Present => state > ABSENT,
        Want::Absent => state == ABSENT,
        Want::Value(wanted) => value == Some(wanted),
        Want::NotAt(0) => state > ABSENT,
        Want::NotAt(unwanted) => revision.is_none() || revision != Some(unwanted),
    }
}

fn draw(rng: &mut fastrand::Rng) -> Tasks {
    let mut states = vec![About { value: None, revision: Some(0) }, About { value: None, revision: None }];
    let values = rng.usize(1..4);
    for value in 0..values {
        let revision = (rng.u32(..4) > 0).then(|| value as u64 + 2);
        states.push(About { value: Some(value), revision });
    }
    let condition = |rng: &mut fastrand::Rng| (rng.u32(..4) == 0).then(|| rng.u64(..5));
    let length = rng.u64(4..24);
    let mut musts: Vec<Must> = (0..rng.usize(1..6))
        .map(|call| {
            let begun = rng.u64(..length);
            let effect =
                rng.bool().then(|| if rng.u32(..4) == 0 { ABSENT } else { rng.usize(2..states.len()) });
            let want = match rng.u32(..8) {
                0 => Want::Present,
                1 => Want::Absent,
                2 => Want::NotAt(rng.u64(..5)),
                _ if effect.is_some() => Want::Anything,
                _ => Want::Value(rng.usize(..values)),
            };
            let (ended, condition) = (begun + 1 + rng.u64(..length), condition(rng));
            Must { call, begun, ended, want, condition, effect, rank: rng.u64(..8) }
        })
        .collect();
    musts.sort_by_key(|must| must.begun);
    let classes = (0..rng.usize(..3))
        .map(|_| {
            let mut members: Vec<(u64, usize)> =
                (0..rng.usize(1..3)).map(|at| (rng.u64(..length), at)).collect();
            members.sort_unstable();
            let effect = [ABSENT, UNSEEN, states.len() - 1][rng.usize(..3)];
            Class { members, condition: condition(rng), effect }
        })
        .collect();
    Tasks { musts, classes, states }
}

#[test]
fn the_search_and_its_twin_agree() {
    let mut rng = fastrand::Rng::with_seed(4);
    let (mut right, mut wrong) = (0, 0);
    for case in 0..30_000 {
        let tasks = draw(&mut rng);
        let expected = has_order(&tasks);
        match search(&tasks, 100_000) {
            Found::Order => assert!(expected, "case {case}: there is no order: {tasks:?}"),
            Found::None(deepest) => {
                assert!(!expected, "case {case}: there is an order: {tasks:?}");
                assert!(deepest.placed < tasks.musts.len() && !deepest.stuck.is_empty(), "{deepest:?}");
            }
            Found::GaveUp => panic!("case {case}: so few calls need no such search: {tasks:?}"),
        }
        if expected { right += 1 } else { wrong += 1 }
    }
    assert!(right > 5_000 && wrong > 5_000, "{right} right, {wrong} wrong");
}

/// A search that ends at its bound says so.
#[test]
fn a_search_that_is_too_long_gives_up() {
    let mut states = vec![About { value: None, revision: Some(0) }, About { value: None, revision: None }];
    let mut musts = Vec::new();
    for call in 0..24 {
        states.push(About { value: Some(call), revision: None });
        let effect = Some(call + 2);
        let want = Want::Anything;
        musts.push(Must { call, begun: 0, ended: 100, want, condition: None, effect, rank: 0 });
    }
    let want = Want::Absent;
    musts.push(Must { call: 24, begun: 101, ended: 102, want, condition: None, effect: None, rank: 0 });
    let tasks = Tasks { musts, classes: Vec::new(), states };
    assert!(matches!(search(&tasks, 10_000), Found::GaveUp));
}
