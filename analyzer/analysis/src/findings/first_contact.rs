//! Requests that waited while agents met for the first time, or whose transfer was the first between two and took longer than later
//! ones: a cost that only the first request after a start has, and that averages hide.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::contacts::FirstContact;
use kvpath_schema::tables::findings::{Code, Finding, Subject};

use super::size::OnPath;
use super::{Concerns, RuleFinding, Tables, finding, share};
use crate::number::float;
use crate::path::category::Category;
use crate::structure::ranks;
use crate::units;

/// A smaller part of a request's time is not worth a sentence.
const NOTABLE: f64 = 0.05;
/// A first transfer that takes this many times as long as later ones is none of their usual differences.
const LONGER: f64 = 2.0;
/// So many later ones say what is usual.
const LATER: i32 = 3;

pub(super) fn of(tables: &Tables) -> Vec<RuleFinding> {
    let contacts = tables.contacts;
    let mut of_request: BTreeMap<i32, Vec<FirstContact>> = BTreeMap::new();
    for contact in (0..contacts.len()).map(|row| contacts.row(row)) {
        if let Some(request) = contact.request {
            of_request.entry(request).or_default().push(contact);
        }
    }
    let judged = of_request.values().flatten().filter(|contact| contact.waited_ns.is_some()).count();
    let confidence = share(judged, contacts.len());
    of_request.into_iter().filter_map(|(request, own)| of_one(tables, request, &own, confidence)).collect()
}

/// Of the contacts of one request, which are mostly with all ranks of the other side, the one that took longest.
fn of_one(tables: &Tables, request: i32, contacts: &[FirstContact], confidence: f64) -> Option<RuleFinding> {
    let (whole_ns, until) = length(tables, request)?;
    let is_notable = |ns: i64| float(ns) >= NOTABLE * float(whole_ns);
    let waited = contacts.iter().max_by_key(|contact| contact.waited_ns);
    let waited = waited.filter(|contact| contact.waited_ns.is_some_and(|ns| ns > 0 && is_notable(ns)));
    let slow = contacts.iter().max_by_key(|contact| longer_ns(contact));
    let slow = slow.filter(|contact| longer_ns(contact).is_some_and(is_notable));
    let shown = waited.or(slow)?;
    let mut text = String::new();
    if let Some(contact) = waited {
        let ns = contact.waited_ns?;
        let _ = write!(
            text,
            "Request {request} waited {} ({} of its time {until}) while {} met {} for the first time: {}.",
            units::time(ns),
            units::share(float(ns), float(whole_ns)),
            place(tables, contact),
            peer(tables, contact),
            parts(contact),
        );
        if contacts.len() > 1 {
            let _ = write!(text, " {} agents met for its hand-offs.", units::count(number(contacts.len())));
        }
    }
    if let Some(contact) = slow {
        let _ = write!(
            text,
            "{}The first transfer between {} and {}, of request {request}, took {}; {} later ones that carry as much took {} \
             (median).",
            if text.is_empty() { "" } else { " " },
            place(tables, contact),
            peer(tables, contact),
            units::time(contact.first_transfer_ns?),
            contact.later_transfers,
            units::time(contact.later_transfer_ns?),
        );
    }
    let stage_ids = contacts.iter().filter_map(|contact| stage(tables, Some(contact.process_id))).collect();
    let row = Finding {
        request: Some(request),
        process_id: Some(shown.process_id),
        tables: "first_contacts, requests".to_owned(),
        row_keys: format!("request = {request}"),
        query: format!(
            "SELECT process_id, peer, load_ns, connect_ns, prepare_ns, waited_ns, first_transfer_ns, later_transfer_ns FROM \
             first_contacts WHERE request = {request} ORDER BY waited_ns DESC"
        ),
        confidence,
        ..finding(Code::FirstContact, Subject::Transfer, text)
    };
    let on_path = OnPath { requests: vec![request], stage_ids, categories: &[Category::Handshake] };
    Some(RuleFinding { row, concerns: Concerns::Requests(vec![request]), on_path: Some(on_path) })
}

/// How long a request took, and until what.
fn length(tables: &Tables, request: i32) -> Option<(i64, &'static str)> {
    let requests = tables.requests;
    let row = requests.request.iter().position(|own| *own == request)?;
    let begun = requests.sent_ns[row].unwrap_or(requests.start_ns[row]);
    let ends = [
        (requests.first_token_ns[row], "to first token"),
        (requests.decode_start_ns[row], "until decode began"),
        (requests.handoff_end_ns[row], "until its KV was handed over"),
    ];
    let (end, until) = ends.into_iter().find_map(|(end, until)| Some((end?, until)))?;
    Some((end - begun, until)).filter(|(ns, _)| *ns > 0)
}

/// How much longer the first transfer took than is usual, if it did.
fn longer_ns(contact: &FirstContact) -> Option<i64> {
    let (first, later) = (contact.first_transfer_ns?, contact.later_transfer_ns?);
    let is_longer = contact.later_transfers >= LATER && float(first) >= LONGER * float(later);
    is_longer.then_some(first - later)
}

/// What the time from the first to the last call went to.
fn parts(contact: &FirstContact) -> String {
    let calls = [
        ("fetchRemoteMD", contact.fetch_ns),
        ("loadRemoteMD", contact.load_ns),
        ("makeConnection", contact.connect_ns),
        ("prepXferDlist", contact.prepare_ns),
    ];
    let named = calls.into_iter().filter_map(|(name, ns)| Some((name, ns?)));
    let mut parts: Vec<String> = named.clone().map(|(name, ns)| format!("{name} {}", units::time(ns))).collect();
    let between = contact.end_ns.map(|end| end - contact.start_ns - named.map(|(_, ns)| ns).sum::<i64>());
    parts.extend(between.filter(|ns| *ns > 0).map(|ns| format!("{} between calls", units::time(ns))));
    parts.join(", ")
}

fn place(tables: &Tables, contact: &FirstContact) -> String {
    let stage = stage(tables, Some(contact.process_id));
    stage.map_or_else(|| format!("process {}", contact.process_id), |id| ranks::in_words(tables.stages, id))
}

fn peer(tables: &Tables, contact: &FirstContact) -> String {
    let stage = stage(tables, contact.peer_process_id);
    stage.map_or_else(|| format!("agent {}", contact.peer), |id| ranks::in_words(tables.stages, id))
}

fn stage(tables: &Tables, process: Option<i64>) -> Option<i32> {
    let row = tables.stages.process_id.iter().position(|own| Some(*own) == process)?;
    Some(tables.stages.stage_id[row])
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use kvpath_schema::tables::contacts::FirstContacts;
    use kvpath_schema::tables::derived::Requests;

    use super::super::tests::Made;
    use super::*;
    use crate::synthetic::MS;

    fn contact(waited_ns: i64) -> FirstContact {
        FirstContact {
            process_id: 1,
            agent: Some("p".into()),
            peer: "d".into(),
            peer_process_id: Some(9),
            start_ns: 100 * MS,
            end_ns: Some(180 * MS),
            calls: 2,
            failed: 0,
            fetch_ns: None,
            load_ns: Some(20 * MS),
            connect_ns: None,
            prepare_ns: Some(5 * MS),
            transfer_id: Some(0),
            request: Some(0),
            waited_ns: Some(waited_ns),
            first_transfer_ns: Some(10 * MS),
            later_transfer_ns: Some(9 * MS),
            later_transfers: 5,
        }
    }

    /// Of a request that took a second.
    fn sentences(rows: &[FirstContact]) -> Vec<String> {
        let mut contacts = FirstContacts::default();
        for row in rows {
            contacts.push(row.clone());
        }
        let requests = Requests {
            request: vec![0],
            sent_ns: vec![Some(0)],
            start_ns: vec![50],
            first_token_ns: vec![Some(1000 * MS)],
            decode_start_ns: vec![None],
            handoff_end_ns: vec![None],
            ..Requests::default()
        };
        Made { requests, contacts, ..Made::default() }.sentences()
    }

    #[test]
    fn a_request_that_waited_for_a_meeting_is_named_with_what_that_took() {
        let expected = "Request 0 waited 80.0 ms (8.00 % of its time to first token) while process 1 met agent d for the first time: \
                        loadRemoteMD 20.0 ms, prepXferDlist 5.00 ms, 55.0 ms between calls.";
        assert_eq!(sentences(&[contact(80 * MS)]), [expected]);
        // The longest of several stands for all.
        let several = sentences(&[contact(MS), contact(80 * MS)]);
        assert_eq!(several, [format!("{expected} 2 agents met for its hand-offs.")]);
    }

    #[test]
    fn who_met_before_the_request_came_or_for_a_moment_is_not() {
        assert_eq!(sentences(&[contact(0)]), [""; 0]);
        assert_eq!(sentences(&[contact(49 * MS)]), [""; 0]);
        assert_eq!(sentences(&[FirstContact { request: None, ..contact(80 * MS) }]), [""; 0]);
        assert_eq!(sentences(&[FirstContact { waited_ns: None, ..contact(0) }]), [""; 0]);
    }

    #[test]
    fn a_first_transfer_that_took_longer_than_later_ones_is_named() {
        let slow = |first_ms: i64, later| FirstContact {
            first_transfer_ns: Some(first_ms * MS),
            later_transfer_ns: Some(30 * MS),
            later_transfers: later,
            ..contact(0)
        };
        let expected = "The first transfer between process 1 and agent d, of request 0, took 80.0 ms; 3 later ones that carry as \
                        much took 30.0 ms (median).";
        assert_eq!(sentences(&[slow(80, 3)]), [expected]);
        // Too few to say what is usual; within what is usual; as rare and too small a part of the request.
        assert_eq!(sentences(&[slow(80, 2)]), [""; 0]);
        assert_eq!(sentences(&[slow(59, 3)]), [""; 0]);
        assert_eq!(sentences(&[FirstContact { later_transfer_ns: Some(MS), ..slow(49, 3) }]), [""; 0]);
    }
}
