//! Which ConfigMaps there are, and which of them are to be looked at: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dra_runtime::backoff::Backoff;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::Which;
use super::decide::Key;

/// A ConfigMap, and what it is for.
pub(super) type Due = (Which, Key);

/// What is known of ConfigMaps.
#[derive(Debug, Default)]
pub(super) struct Book {
    configs: BTreeMap<Due, ConfigMap>,
    due: BTreeMap<Due, (Instant, Backoff)>,
    /// What lists have named that are not at their end. What was known before counts until then: a ConfigMap that is
    /// not named yet is not gone.
    listing: BTreeMap<Which, BTreeSet<Key>>,
    /// Of which there was a whole list.
    listed: BTreeSet<Which>,
}

impl Book {
    /// Writes down what a watch tells. Answers whether it was the end of a list.
    pub(super) fn tell(&mut self, which: Which, event: Event<ConfigMap>, now: Instant) -> bool {
        match event {
            Event::Init => drop(self.listing.insert(which, BTreeSet::new())),
            Event::InitApply(config) => {
                let key = Key::of(&config);
                self.listing.entry(which).or_default().insert(key.clone());
                self.there((which, key), config, now);
            }
            Event::Apply(config) => self.there((which, Key::of(&config)), config, now),
            Event::Delete(config) => self.gone((which, Key::of(&config)), now),
            Event::InitDone => {
                let named = self.listing.remove(&which).unwrap_or_default();
                let known = self.configs.keys().filter(|(its, key)| *its == which && !named.contains(key));
                let gone: Vec<Due> = known.cloned().collect();
                gone.into_iter().for_each(|due| self.gone(due, now));
                self.listed.insert(which);
                return true;
            }
        }
        false
    }

    fn there(&mut self, due: Due, config: ConfigMap, now: Instant) {
        // What goes takes its template with it.
        if config.metadata.deletion_timestamp.is_some() {
            return self.gone(due, now);
        }
        self.configs.insert(due.clone(), config);
        self.at_once(due, now);
    }

    fn gone(&mut self, due: Due, now: Instant) {
        self.configs.remove(&due);
        self.at_once(due, now);
    }

    /// Whether there was a whole list, so that what is not known is not there.
    pub(super) fn is_whole(&self, which: Which) -> bool {
        self.listed.contains(&which)
    }

    /// The ConfigMap, where there is one.
    pub(super) fn config(&self, due: &Due) -> Option<&ConfigMap> {
        self.configs.get(due)
    }

    /// Has this looked at next.
    pub(super) fn at_once(&mut self, due: Due, now: Instant) {
        self.due.insert(due, (now, Backoff::default()));
    }

    /// Has all of them looked at.
    pub(super) fn all_at_once(&mut self, now: Instant) {
        let all: Vec<Due> = self.configs.keys().cloned().collect();
        all.into_iter().for_each(|due| self.at_once(due, now));
    }

    /// Has this looked at again, later each time.
    pub(super) fn later(&mut self, due: Due, mut backoff: Backoff, longest: Duration, now: Instant) {
        let wait = backoff.next(longest);
        self.due.insert(due, (now + wait, backoff));
    }

    /// What is to be looked at next, and when.
    pub(super) fn next(&self) -> Option<(Due, Instant)> {
        self.due.iter().min_by_key(|(_, (at, _))| *at).map(|(due, (at, _))| (due.clone(), *at))
    }

    /// Takes it out of what is to be looked at.
    pub(super) fn take(&mut self, due: &Due) -> Option<Backoff> {
        self.due.remove(due).map(|(_, backoff)| backoff)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

    use super::*;

    fn config(name: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            namespace: Some("team".to_owned()),
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn due(which: Which, name: &str) -> Due {
        (which, Key::of(&config(name)))
    }

    /// What is to be looked at, in order of names: those that are there, and those (-) that are gone.
    fn looked_at(book: &mut Book) -> String {
        let mut names: Vec<String> = Vec::new();
        while let Some((due, _)) = book.next() {
            book.take(&due).unwrap();
            let sign = if book.config(&due).is_some() { "+" } else { "-" };
            names.push(format!("{sign}{}", due.1.name));
        }
        names.sort_by_key(|name| name[1..].to_owned());
        names.join(" ")
    }

    fn listed(book: &mut Book, which: Which, names: &[&str], now: Instant) {
        assert!(!book.tell(which, Event::Init, now));
        for name in names {
            assert!(!book.tell(which, Event::InitApply(config(name)), now));
        }
        assert!(book.tell(which, Event::InitDone, now));
    }

    #[test]
    fn what_is_due_in_the_middle_of_a_list_is_not_taken_for_gone() {
        let (mut book, now) = (Book::default(), Instant::now());
        listed(&mut book, Which::Class, &["large", "small"], now);
        // The API server refused to write; then the watch is cut, and a list begins again.
        let large = due(Which::Class, "large");
        let backoff = book.take(&large).unwrap();
        book.later(large.clone(), backoff, Duration::from_secs(30), now);
        book.tell(Which::Class, Event::Init, now);
        assert!(book.config(&large).is_some());
        assert_eq!(looked_at(&mut book), "+large +small");
        // The list fails, and begins once more.
        book.tell(Which::Class, Event::Init, now);
        book.tell(Which::Class, Event::InitApply(config("small")), now);
        assert!(book.config(&large).is_some());
        // It ends, and only now a ConfigMap that it did not name is gone.
        book.tell(Which::Class, Event::InitDone, now);
        assert!(book.config(&large).is_none());
        assert_eq!(looked_at(&mut book), "-large +small");
    }

    #[test]
    fn a_list_of_one_purpose_says_nothing_of_the_other() {
        let (mut book, now) = (Book::default(), Instant::now());
        assert!(!book.is_whole(Which::Class));
        listed(&mut book, Which::Template, &["both"], now);
        assert!(book.is_whole(Which::Template) && !book.is_whole(Which::Class));
        listed(&mut book, Which::Class, &["both"], now);
        assert_eq!(looked_at(&mut book), "+both +both");
        listed(&mut book, Which::Class, &[], now);
        assert_eq!(looked_at(&mut book), "-both");
        assert!(book.config(&due(Which::Template, "both")).is_some());
    }

    #[test]
    fn changes_and_deletions_are_looked_at() {
        let (mut book, now) = (Book::default(), Instant::now());
        listed(&mut book, Which::Template, &[], now);
        assert_eq!(looked_at(&mut book), "");
        book.tell(Which::Template, Event::Apply(config("new")), now);
        assert_eq!(looked_at(&mut book), "+new");
        let mut going = config("new");
        going.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
        book.tell(Which::Template, Event::Apply(going), now);
        assert_eq!(looked_at(&mut book), "-new");
        book.tell(Which::Template, Event::Apply(config("new")), now);
        book.tell(Which::Template, Event::Delete(config("new")), now);
        assert_eq!(looked_at(&mut book), "-new");
        book.all_at_once(now);
        assert_eq!(looked_at(&mut book), "");
    }

    #[test]
    fn what_failed_waits_while_others_are_looked_at() {
        let (mut book, now) = (Book::default(), Instant::now());
        listed(&mut book, Which::Template, &["bad", "good"], now);
        let bad = due(Which::Template, "bad");
        let backoff = book.take(&bad).unwrap();
        book.later(bad.clone(), backoff, Duration::from_secs(30), now);
        assert_eq!(book.next(), Some((due(Which::Template, "good"), now)));
        book.take(&due(Which::Template, "good")).unwrap();
        let (next, at) = book.next().unwrap();
        assert!(next == bad && at > now, "{next:?} at {at:?}");
        // A change makes it worth a try at once.
        book.tell(Which::Template, Event::Apply(config("bad")), now);
        assert_eq!(book.next(), Some((bad, now)));
    }
}
