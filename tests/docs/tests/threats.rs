//! Each claim of the threat model names the tests that try it, or says that it is open.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use docs::repository;

/// Whether a source has a test of this name.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let wanted = [format!("fn {name}("), format!("async fn {name}(")];
    lines.iter().enumerate().any(|(number, line)| {
        let is_it = wanted.iter().any(|start| line.starts_with(start));
        let mut above = lines[..number].iter().rev().take_while(|above| above.starts_with("#["));
        is_it && above.any(|above| above.starts_with("#[test]") || above.starts_with("#[tokio::test"))
    })
}

#[test]
fn every_claim_names_a_test_that_exists_or_is_open() {
    let page = docs::page("docs/threat-model.md").unwrap();
    let mut claims = 0;
    let mut wrong = Vec::new();
    for table in page.tables() {
        let Some(column) = table.head.iter().position(|cell| cell.text == "tried by") else { continue };
        for row in &table.rows {
            claims += 1;
            let cell = &row[column];
            let place = format!("{}:{}", page.path, cell.line);
            if cell.text.starts_with("open: ") {
                continue;
            }
            if cell.code.is_empty() {
                wrong.push(format!("{place}: neither a test nor `open: …`: {}", cell.text));
            }
            for named in &cell.code {
                let Some((file, test)) = named.split_once("::") else {
                    wrong.push(format!("{place}: not FILE::TEST: {named}"));
                    continue;
                };
                let source = fs_err::read_to_string(repository().join(file)).unwrap_or_default();
                if !has_test(&source, test) {
                    wrong.push(format!("{place}: {file} has no test {test}"));
                }
            }
        }
    }
    assert!(claims > 10, "only {claims} claims were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_test_is_a_function_that_is_marked_as_one() {
    let source = "#[tokio::test]\n#[ignore = \"long: x\"]\nasync fn one() {}\n\n    #[test]\n    fn two() {}\nfn three() {}";
    let found = ["one", "two", "three", "tw"].map(|name| has_test(source, name));
    assert_eq!(found, [true, true, false, false]);
}
