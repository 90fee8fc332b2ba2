use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A deadline that passes at once, for calls that are known to be stuck.
const SOON: Duration = Duration::from_millis(20);
/// A deadline that no healthy call meets: it only keeps a broken test from hanging.
const LATE: Duration = Duration::from_secs(30);

/// What a call works on: counts the calls that happened.
#[derive(Default)]
struct Device {
    calls: AtomicU32,
}

/// A call that does not return before its key is turned.
struct Stuck {
    key: mpsc::Sender<()>,
    entered: Receiver<()>,
}

fn lane() -> Lane<Device> {
    Lane::start("lane", LATE, || Ok::<_, LaneError>(Device::default())).unwrap()
}

fn count(lane: &Lane<Device>) -> Result<u32, LaneError> {
    lane.read("count", LATE, |device| device.calls.load(Ordering::SeqCst))
}

fn stuck_work() -> (Stuck, impl FnOnce(&Device) + Send + 'static) {
    let (key, lock) = mpsc::channel();
    let (enter, entered) = mpsc::channel();
    let work = move |device: &Device| {
        enter.send(()).unwrap();
        // The key is also turned by dropping it.
        let _ = lock.recv();
        device.calls.fetch_add(1, Ordering::SeqCst);
    };
    (Stuck { key, entered }, work)
}

impl Stuck {
    /// Lets the call return, and waits until its lane has noticed.
    fn release(self, lane: &Lane<Device>) {
        drop(self.key);
        while lane.running().is_some() {
            thread::yield_now();
        }
    }
}

#[test]
fn calls_are_answered_in_order_by_one_thread() {
    let lane = lane();
    let pending: Vec<_> = (0..8_u32)
        .map(|_| {
            lane.submit_read("add", LATE, |device| {
                (device.calls.fetch_add(1, Ordering::SeqCst), thread::current().id())
            })
            .unwrap()
        })
        .collect();
    let answers: Vec<_> = pending.into_iter().map(|pending| pending.wait().unwrap()).collect();
    let order: Vec<u32> = answers.iter().map(|(number, _)| *number).collect();
    assert_eq!(order, (0..8).collect::<Vec<_>>());
    assert!(answers.iter().all(|(_, thread)| *thread == answers[0].1));
    assert_ne!(answers[0].1, thread::current().id());
}

#[test]
fn a_deadline_frees_the_caller_and_a_late_read_is_dropped() {
    let lane = lane();
    let (stuck, work) = stuck_work();
    let hangs = lane.submit_read("hang", SOON, work).unwrap();
    stuck.entered.recv().unwrap();
    let error = hangs.wait().unwrap_err();
    assert_eq!(error, LaneError::Timeout { lane: "lane".into(), call: "hang", within: SOON, started: true });
    assert_eq!(error.to_string(), "lane: 'hang' did not return within 20 ms");

    let refused = count(&lane).unwrap_err();
    assert!(matches!(refused, LaneError::Busy { running: "hang", call: "count", .. }), "{refused}");

    stuck.release(&lane);
    assert_eq!(count(&lane), Ok(1), "the call happened, its answer was dropped, the lane goes on");
}

#[test]
fn a_call_that_waits_behind_a_stuck_one_never_happens_after_its_deadline() {
    let lane = lane();
    let (stuck, work) = stuck_work();
    let hangs = lane.submit_read("hang", LATE, work).unwrap();
    stuck.entered.recv().unwrap();

    let error =
        lane.write("change", SOON, |device| device.calls.fetch_add(100, Ordering::SeqCst)).unwrap_err();
    assert!(matches!(error, LaneError::Timeout { started: false, call: "change", .. }), "{error}");
    assert_eq!(lane.out_of_step(), None, "a write that did not begin has a known outcome");

    stuck.release(&lane);
    hangs.wait().unwrap();
    assert_eq!(count(&lane), Ok(1));
}

#[test]
fn after_a_late_write_the_state_is_read_again_before_anything_else() {
    let lane = lane();
    let (stuck, work) = stuck_work();
    let write = lane.submit("set", Kind::Write, SOON, work).unwrap();
    stuck.entered.recv().unwrap();
    write.wait().unwrap_err();
    assert_eq!(lane.out_of_step(), Some("set"));

    let early = lane.resync("look", LATE, |_| Ok::<_, ()>(())).unwrap_err();
    assert!(matches!(early, LaneError::Busy { .. }), "the write still runs: {early}");

    stuck.release(&lane);
    let refused = count(&lane).unwrap_err();
    assert_eq!(refused, LaneError::OutOfStep { lane: "lane".into(), call: "count", write: "set" });

    let failed = lane.resync("look", LATE, |_| Err::<(), _>("no answer")).unwrap();
    assert_eq!(failed, Err("no answer"));
    assert_eq!(lane.out_of_step(), Some("set"), "a failed look puts nothing in step");

    let seen = lane.resync("look", LATE, |device| Ok::<_, ()>(device.calls.load(Ordering::SeqCst)));
    assert_eq!(seen, Ok(Ok(1)));
    assert_eq!(count(&lane), Ok(1));
}

#[test]
fn what_waits_behind_a_write_that_is_lost_is_thrown_out() {
    let lane = lane();
    let (stuck, work) = stuck_work();
    let write = lane.submit("set", Kind::Write, SOON, work).unwrap();
    stuck.entered.recv().unwrap();
    // Of the same name, so that it cannot be mistaken for the one that was lost.
    let behind = lane
        .submit("set", Kind::Write, LATE, |device| {
            device.calls.fetch_add(100, Ordering::SeqCst);
        })
        .unwrap();
    write.wait().unwrap_err();
    stuck.release(&lane);

    let error = behind.wait().unwrap_err();
    assert!(matches!(error, LaneError::OutOfStep { write: "set", .. }), "{error}");
    let seen = lane.resync("look", LATE, |device| Ok::<_, ()>(device.calls.load(Ordering::SeqCst)));
    assert_eq!(seen, Ok(Ok(1)));
}

#[test]
fn a_panic_ends_the_call_and_not_the_lane() {
    let lane = lane();
    let read = lane.read("break", LATE, |_| panic!("in a test")).unwrap_err();
    assert!(matches!(read, LaneError::Panicked { call: "break", .. }), "{read}");
    assert_eq!(count(&lane), Ok(0));

    let write = lane.write("break", LATE, |_| panic!("in a test")).unwrap_err();
    assert!(matches!(write, LaneError::Panicked { .. }), "{write}");
    let next = count(&lane).unwrap_err();
    assert!(matches!(next, LaneError::OutOfStep { write: "break", .. }), "{next}");
}

#[test]
fn the_queue_is_bounded() {
    let lane = lane();
    let (stuck, work) = stuck_work();
    let hangs = lane.submit_read("hang", LATE, work).unwrap();
    stuck.entered.recv().unwrap();
    let waiting: Vec<_> = (0..QUEUE).map(|_| lane.submit_read("wait", LATE, |_| ()).unwrap()).collect();
    let refused = lane.submit_read("one more", LATE, |_| ()).unwrap_err();
    assert!(matches!(refused, LaneError::Busy { running: "hang", .. }), "{refused}");

    stuck.release(&lane);
    hangs.wait().unwrap();
    for pending in waiting {
        pending.wait().unwrap();
    }
    lane.read("one more", LATE, |_| ()).unwrap();
}

#[test]
fn dropping_a_lane_waits_for_no_stuck_call_and_answers_those_who_wait() {
    let lane = lane();
    let (stuck, work) = stuck_work();
    let hangs = lane.submit_read("hang", LATE, work).unwrap();
    stuck.entered.recv().unwrap();
    let waits = lane.submit_read("wait", LATE, |_| ()).unwrap();

    drop(lane);
    let error = waits.wait().unwrap_err();
    assert!(matches!(error, LaneError::Closed { call: "wait", .. }), "{error}");
    drop(stuck.key);
    assert_eq!(hangs.wait(), Ok(()), "the call that had begun is still answered");
}

#[test]
fn what_a_dropped_lane_worked_on_is_dropped_in_its_thread() {
    struct Tells(mpsc::Sender<thread::ThreadId>);
    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }
    let (tell, told) = mpsc::channel();
    let lane = Lane::start("lane", LATE, || Ok::<_, LaneError>(Tells(tell))).unwrap();
    let thread = lane.read("who", LATE, |_| thread::current().id()).unwrap();
    drop(lane);
    assert_eq!(told.recv_timeout(LATE), Ok(thread));
}

#[test]
fn a_lane_that_cannot_start_says_why() {
    #[derive(Debug, PartialEq)]
    enum Failed {
        Init,
        Lane(LaneError),
    }
    impl From<LaneError> for Failed {
        fn from(error: LaneError) -> Self {
            Self::Lane(error)
        }
    }
    let refuses: Result<Lane<()>, _> = Lane::start("lane", LATE, || Err(Failed::Init));
    assert_eq!(refuses.unwrap_err(), Failed::Init);

    let panics: Result<Lane<()>, Failed> = Lane::start("lane", LATE, || panic!("in a test"));
    assert!(matches!(panics, Err(Failed::Lane(LaneError::Panicked { call: "start", .. }))));

    let (key, lock) = mpsc::channel::<()>();
    let hangs: Result<Lane<()>, Failed> = Lane::start("lane", SOON, move || {
        let _ = lock.recv();
        Ok(())
    });
    assert!(matches!(hangs, Err(Failed::Lane(LaneError::Timeout { call: "start", started: true, .. }))));
    drop(key);
}
