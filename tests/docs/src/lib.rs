//! The documentation as tests see it: pages with their headings, links, tables and blocks of code.

use std::ops::Range;
use std::path::{Path, PathBuf};

use fs_err as fs;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use thiserror::Error;

/// Folders and files that are documentation, from the folder of the repository.
const WHERE: [&str; 5] = ["README.md", "CONTRIBUTING.md", "docs", "deploy", "hack"];

/// Why the documentation cannot be read.
#[derive(Debug, Error)]
#[error("read the documentation: {0}")]
pub struct ReadError(#[from] std::io::Error);

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it lies, from the folder of the repository.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A block of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of the page on which it begins.
    pub line: usize,
    /// The first word after the fence, such as `yaml`.
    pub language: String,
    /// The words after that one.
    pub marks: Vec<String>,
    /// What is between the fences.
    pub text: String,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The cells of the first row.
    pub head: Vec<Cell>,
    /// The other rows.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// The line of the page.
    pub line: usize,
    /// All of its text.
    pub text: String,
    /// The pieces of it that are code.
    pub code: Vec<String>,
}

/// The folder of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All pages, in the order of their paths.
///
/// # Errors
/// One cannot be read.
pub fn pages() -> Result<Vec<Page>, ReadError> {
    let mut paths = Vec::new();
    for place in WHERE {
        find(Path::new(place), &mut paths)?;
    }
    paths.sort();
    let read = |path: PathBuf| -> Result<Page, ReadError> {
        let text = fs::read_to_string(repository().join(&path))?;
        Ok(Page { path: path.to_string_lossy().into_owned(), text })
    };
    paths.into_iter().map(read).collect()
}

/// One page, by its path from the folder of the repository.
///
/// # Errors
/// It cannot be read.
pub fn page(path: &str) -> Result<Page, ReadError> {
    let text = fs::read_to_string(repository().join(path))?;
    Ok(Page { path: path.to_owned(), text })
}

fn find(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    let full = repository().join(path);
    if full.is_dir() {
        for entry in fs::read_dir(full)? {
            find(&path.join(entry?.file_name()), found)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "md") {
        found.push(path.to_owned());
    }
    Ok(())
}

impl Page {
    /// Its blocks of code.
    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (event, range) in self.events() {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    let mut words = info.split_whitespace().map(str::to_owned);
                    let language = words.next().unwrap_or_default();
                    let line = self.line(&range);
                    open = Some(Block { line, language, marks: words.collect(), text: String::new() });
                }
                Event::Text(text) => {
                    if let Some(block) = &mut open {
                        block.text += &text;
                    }
                }
                Event::End(TagEnd::CodeBlock) => blocks.extend(open.take()),
                _ => {}
            }
        }
        blocks
    }

    /// Its tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = Vec::new();
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        let mut open: Option<Cell> = None;
        for (event, range) in self.events() {
            match event {
                Event::Start(Tag::TableHead | Tag::TableRow) => rows.push(Vec::new()),
                Event::Start(Tag::TableCell) => {
                    open = Some(Cell { line: self.line(&range), ..Cell::default() });
                }
                Event::Text(text) => {
                    if let Some(cell) = &mut open {
                        cell.text += &text;
                    }
                }
                Event::Code(text) => {
                    if let Some(cell) = &mut open {
                        cell.text += &text;
                        cell.code.push(text.into_string());
                    }
                }
                Event::End(TagEnd::TableCell) => {
                    if let Some(row) = rows.last_mut() {
                        row.extend(open.take());
                    }
                }
                Event::End(TagEnd::Table) => {
                    let mut all = std::mem::take(&mut rows).into_iter();
                    let head = all.next().unwrap_or_default();
                    tables.push(Table { head, rows: all.collect() });
                }
                _ => {}
            }
        }
        tables
    }

    /// Where its links and images lead, with the line of each.
    #[must_use]
    pub fn links(&self) -> Vec<(usize, String)> {
        let links = self.events().filter_map(|(event, range)| match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                Some((self.line(&range), dest_url.into_string()))
            }
            _ => None,
        });
        links.collect()
    }

    /// Its pieces of code within sentences and tables, with the line of each.
    #[must_use]
    pub fn code(&self) -> Vec<(usize, String)> {
        let code = self.events().filter_map(|(event, range)| match event {
            Event::Code(text) => Some((self.line(&range), text.into_string())),
            _ => None,
        });
        code.collect()
    }

    /// The names under which its headings can be linked to, as GitHub makes them.
    #[must_use]
    pub fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        let mut open: Option<String> = None;
        for (event, _) in self.events() {
            match event {
                Event::Start(Tag::Heading { .. }) => open = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut open {
                        *heading += &text;
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&open.take().unwrap_or_default());
                    let again = anchors.iter().filter(|other| **other == anchor).count();
                    anchors.push(if again == 0 { anchor } else { format!("{anchor}-{again}") });
                }
                _ => {}
            }
        }
        anchors
    }

    fn events(&self) -> impl Iterator<Item = (Event<'_>, Range<usize>)> {
        Parser::new_ext(&self.text, Options::ENABLE_TABLES).into_offset_iter()
    }

    fn line(&self, range: &Range<usize>) -> usize {
        self.text.bytes().take(range.start).filter(|byte| *byte == b'\n').count() + 1
    }
}

/// Small letters, digits, `-` and `_` stay; a space becomes a `-`; all else goes.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ if letter.is_alphanumeric() => Some(letter),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# A page: of `two`

See [there](other.md#part) and `driver.name`.

```yaml values
a: 1
```

| message | meaning |
| --- | --- |
| `it is …` or `not` | [this](#a-page) |

## Twice
## Twice
";

    #[test]
    fn what_is_on_a_page_is_found_with_its_line() {
        let page = Page { path: "x.md".to_owned(), text: PAGE.to_owned() };
        let block = Block {
            line: 5,
            language: "yaml".to_owned(),
            marks: vec!["values".to_owned()],
            text: "a: 1\n".to_owned(),
        };
        assert_eq!(page.blocks(), [block]);
        assert_eq!(page.links(), [(3, "other.md#part".to_owned()), (11, "#a-page".to_owned())]);
        let code: Vec<(usize, String)> = page.code();
        let expected = [(1, "two"), (3, "driver.name"), (11, "it is …"), (11, "not")];
        assert_eq!(code, expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(page.anchors(), ["a-page-of-two", "twice", "twice-1"]);
        let [table] = &page.tables()[..] else { panic!("there is one table") };
        let head: Vec<&str> = table.head.iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!(head, ["message", "meaning"]);
        assert_eq!(table.rows.len(), 1);
        assert_eq!(
            (table.rows[0][0].line, &table.rows[0][0].code),
            (11, &code[2..].iter().map(|(_, text)| text.clone()).collect())
        );
    }
}
