//! The inventory for people: pure.

use std::fmt::Write;

use dra_driver::inventory::{Gpu, Inventory, Problem, Severity, Version};
use dra_driver::nvml::library::{LIBRARY, Outcome};

/// From this width on, all columns stand in one table.
const WIDE: usize = 140;
/// Nothing is narrowed below this.
const NARROWEST: usize = 40;

/// The inventory in lines of at most `width` characters. Only words that are longer than a line stand out.
pub(super) fn render(inventory: &Inventory, width: usize) -> String {
    let width = width.max(NARROWEST);
    let mut out = String::new();
    match &inventory.library.found {
        Some(library) => {
            let versions = &inventory.versions;
            let driver = format!(
                "Driver {}   CUDA {}   NVML {}",
                version(versions.driver.as_ref()),
                version(versions.cuda.as_ref()),
                version(versions.nvml.as_ref())
            );
            line(&mut out, &driver);
            wrapped(&mut out, &format!("Library {}", library.display()), 2, width);
        }
        None => looked_at(&mut out, inventory, width),
    }
    if inventory.gpus.is_empty() {
        if inventory.library.found.is_some() {
            line(&mut out, "\nNo GPUs.");
        }
    } else if width >= WIDE {
        table(
            &mut out,
            inventory,
            &[NAME, PRODUCT, MEMORY, NUMA, ROOT, NVLINK, MIG, MINOR, UUID, STATE],
            width,
        );
    } else {
        table(&mut out, inventory, &[NAME, PRODUCT, MEMORY, NUMA, ROOT, STATE], width);
        table(&mut out, inventory, &[NAME, UUID, NVLINK, MIG, MINOR], width);
    }
    problems(&mut out, &inventory.problems, width);
    out
}

/// A column of a table of GPUs.
#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    right: bool,
    /// Whether the column is cut where the line is too short.
    elastic: bool,
    cell: fn(&Inventory, &Gpu) -> String,
}

const NAME: Column = Column {
    title: "NAME",
    right: false,
    elastic: false,
    cell: |_, gpu| gpu.name.clone().unwrap_or_else(|| format!("(NVML index {})", gpu.index)),
};
const PRODUCT: Column = Column {
    title: "PRODUCT",
    right: false,
    elastic: true,
    cell: |_, gpu| known(gpu.product_name.as_deref()),
};
const MEMORY: Column = Column {
    title: "MEMORY",
    right: true,
    elastic: false,
    cell: |_, gpu| known(gpu.memory.map(|memory| format!("{} MiB", memory.total_bytes >> 20))),
};
const NUMA: Column = Column {
    title: "NUMA",
    right: true,
    elastic: false,
    cell: |_, gpu| known(gpu.numa_node.map(|node| node.to_string())),
};
const ROOT: Column = Column {
    title: "PCIE ROOT",
    right: false,
    elastic: false,
    cell: |_, gpu| known(gpu.pci.root.as_deref()),
};
const UUID: Column =
    Column { title: "UUID", right: false, elastic: false, cell: |_, gpu| known(gpu.uuid.as_deref()) };
const NVLINK: Column = Column {
    title: "NVLINK",
    right: true,
    elastic: false,
    cell: |_, gpu| known(gpu.nvlink.as_ref().map(|nvlink| format!("{}/{}", nvlink.active, nvlink.links))),
};
const MIG: Column = Column {
    title: "MIG",
    right: false,
    elastic: false,
    cell: |_, gpu| {
        let mode = match gpu.mig {
            mig if !mig.capable => "-",
            mig if mig.enabled => "on",
            _ => "off",
        };
        mode.to_owned()
    },
};
const MINOR: Column = Column {
    title: "MINOR",
    right: true,
    elastic: false,
    cell: |_, gpu| known(gpu.minor.map(|minor| minor.to_string())),
};
const STATE: Column = Column {
    title: "STATE",
    right: false,
    elastic: false,
    cell: |inventory, gpu| {
        let warned = inventory.problems.iter().any(|problem| Some(&problem.subject) == gpu.name.as_ref());
        let state = match gpu.usable {
            false => "unusable",
            true if warned => "warning",
            true => "ok",
        };
        state.to_owned()
    },
};

fn known(value: Option<impl Into<String>>) -> String {
    value.map_or_else(|| "-".to_owned(), Into::into)
}

fn version(version: Option<&Version>) -> String {
    known(version.map(|version| version.raw.as_str()))
}

fn table(out: &mut String, inventory: &Inventory, columns: &[Column], width: usize) {
    const GAP: usize = 2;
    let rows: Vec<Vec<String>> = inventory
        .gpus
        .iter()
        .map(|gpu| columns.iter().map(|column| printable(&(column.cell)(inventory, gpu))).collect())
        .collect();
    let mut widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(number, column)| {
            let cells = rows.iter().filter_map(|row| row.get(number)).map(|cell| length(cell));
            cells.chain([length(column.title)]).max().unwrap_or_default()
        })
        .collect();
    let needed: usize = widths.iter().sum::<usize>() + GAP * columns.len().saturating_sub(1);
    let too_long = needed.saturating_sub(width);
    for (column, cells) in columns.iter().zip(&mut widths).filter(|(column, _)| column.elastic) {
        *cells = cells.saturating_sub(too_long).max(length(column.title));
    }
    out.push('\n');
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    for row in std::iter::once(&titles).chain(&rows) {
        let cells: Vec<String> = columns
            .iter()
            .zip(row)
            .zip(&widths)
            .map(|((column, cell), &width)| {
                let cell = cut(cell, width);
                if column.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            })
            .collect();
        line(out, cells.join(&" ".repeat(GAP)).trim_end());
    }
}

fn looked_at(out: &mut String, inventory: &Inventory, width: usize) {
    let root = inventory.library.driver_root.display();
    wrapped(out, &format!("No NVIDIA driver found under {root}. Looked for {LIBRARY} at:"), 2, width);
    for place in &inventory.library.looked {
        let outcome = match &place.outcome {
            Outcome::Found => "found",
            Outcome::Missing => "missing",
            Outcome::NotListed => "does not name it",
            Outcome::Refused(reason) => reason,
        };
        wrapped(out, &format!("  {}: {outcome}", place.path.display()), 4, width);
    }
}

fn problems(out: &mut String, problems: &[Problem], width: usize) {
    if problems.is_empty() {
        return;
    }
    line(out, "\nPROBLEMS");
    for problem in problems {
        let severity = match problem.severity {
            Severity::Unusable => "unusable",
            Severity::Warning => "warning",
        };
        let text = format!("{} ({severity}): {}", problem.subject, printable(&problem.message));
        wrapped(out, &text, 4, width);
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Breaks a text between words. Following lines are indented; so is the first as the text is. A word that is
/// longer than a line, such as a path, stays whole, so that it can be copied.
fn wrapped(out: &mut String, text: &str, indent: usize, width: usize) {
    let text = printable(text);
    let lead = length(&text) - length(text.trim_start());
    let mut column = lead;
    let _ = write!(out, "{:lead$}", "");
    let mut first = true;
    for word in text.split_whitespace() {
        if !first && column + 1 + length(word) > width {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if !first {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length(word);
        first = false;
    }
    out.push('\n');
}

/// A board's name or a library's message may hold bytes that a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests;
