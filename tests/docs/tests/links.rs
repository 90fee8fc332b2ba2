//! Links between the pages, and from them to files of the repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use docs::{Page, pages, repository};

/// The path from the folder of the repository that a link on a page leads to; a link to a heading of the page itself
/// leads to the page.
fn target(page: &Page, link: &str) -> PathBuf {
    if link.is_empty() {
        return page.path.clone().into();
    }
    let mut path = Path::new(&page.path).parent().unwrap().to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => assert!(path.pop(), "{}: {link} leaves the repository", page.path),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages().unwrap();
    let mut dead = Vec::new();
    let mut looked_at = 0;
    for page in &pages {
        for (line, link) in page.links() {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            looked_at += 1;
            let (file, heading) = link.split_once('#').map_or((&*link, None), |(file, h)| (file, Some(h)));
            let path = target(page, file);
            if !repository().join(&path).exists() {
                dead.push(format!("{}:{line}: {link}: there is no {}", page.path, path.display()));
                continue;
            }
            let Some(heading) = heading else { continue };
            let there = pages.iter().find(|other| Path::new(&other.path) == path);
            if !there.is_some_and(|there| there.anchors().iter().any(|anchor| anchor == heading)) {
                dead.push(format!("{}:{line}: {link}: there is no such heading", page.path));
            }
        }
    }
    assert!(looked_at > 40, "only {looked_at} links were found");
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

#[test]
fn the_table_of_contents_names_every_page() {
    let contents = docs::page("docs/README.md").unwrap();
    let named: BTreeSet<PathBuf> = contents
        .links()
        .into_iter()
        .map(|(_, link)| target(&contents, link.split('#').next().unwrap()))
        .collect();
    // A folder that has a README of its own is named by that.
    let inner: Vec<PathBuf> = named.iter().filter(|path| path.ends_with("README.md")).cloned().collect();
    let missing: Vec<String> = pages()
        .unwrap()
        .into_iter()
        .map(|page| page.path)
        .filter(|path| path.starts_with("docs/") && path != "docs/README.md")
        .filter(|path| {
            let path = Path::new(path);
            let within = inner.iter().any(|readme| path.parent() == readme.parent());
            !within && !named.contains(path)
        })
        .collect();
    assert!(missing.is_empty(), "docs/README.md does not name {missing:?}");
}
