//! What the doctor says: a table for people, JSON for programs.

use crate::contexts::Context;
use serde_json::{Value, json};
use std::fmt::Write;

/// One row of the report.
pub struct Line {
    pub name: &'static str,
    /// In the order of [`Context::ALL`]; `None` where the row may not be called.
    pub cells: Vec<Option<Cell>>,
    /// Bytes of the stack of a G.
    pub stack: Option<usize>,
    /// Nanoseconds over a direct call.
    pub time: Option<f64>,
    /// Why the row could not be tried at all.
    pub untried: Option<&'static str>,
}

/// One row in one context.
#[derive(Default)]
pub struct Cell {
    /// Calls made.
    pub calls: usize,
    /// Those that failed: the claim, and why.
    pub failures: Vec<(&'static str, String)>,
}

/// What was examined, and what came of it.
pub struct Report {
    /// Names and values, for the header.
    pub machine: Vec<(&'static str, String)>,
    pub lines: Vec<Line>,
}

impl Report {
    pub fn calls(&self) -> usize {
        self.cells().map(|cell| cell.calls).sum()
    }

    /// Failed calls, and rows that could not be tried.
    pub fn failures(&self) -> usize {
        let untried = self.lines.iter().filter(|line| line.untried.is_some());
        untried.count() + self.cells().map(|cell| cell.failures.len()).sum::<usize>()
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.lines
            .iter()
            .flat_map(|line| line.cells.iter().flatten())
    }

    /// For people: a header line, the table, why something failed, a summary line.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let machine: Vec<_> = self
            .machine
            .iter()
            .map(|(_, value)| value.as_str())
            .collect();
        let _ = writeln!(out, "{}\n", machine.join(", "));
        self.table(&mut out);
        out.push('\n');
        for context in Context::ALL {
            let (name, what) = context.text();
            let _ = writeln!(out, "{name:>8}  {what}");
        }
        let _ = writeln!(
            out,
            "{:>8}  bytes of that G's stack, from SP at the call of the wrapper down to the lowest written",
            "stack"
        );
        let _ = writeln!(
            out,
            "{:>8}  nanoseconds over a direct call of the same C function, on the stack of a G",
            "ns"
        );
        let _ = writeln!(
            out,
            "{:>8}  not allowed there by its row; not measured",
            "-"
        );
        out.push('\n');
        for line in &self.lines {
            if let Some(why) = line.untried {
                let _ = writeln!(out, "FAILED {}: {why}", line.name);
            }
            for (context, cell) in Context::ALL.into_iter().zip(&line.cells) {
                for (claim, why) in cell.iter().flat_map(|cell| &cell.failures) {
                    let _ = writeln!(
                        out,
                        "FAILED {} {claim}, {}: {why}",
                        line.name,
                        context.text().1
                    );
                }
            }
        }
        let _ = writeln!(
            out,
            "{} rows, {} calls, {} failures",
            self.lines.len(),
            self.calls(),
            self.failures()
        );
        out
    }

    fn table(&self, out: &mut String) {
        let width = self
            .lines
            .iter()
            .map(|line| line.name.len())
            .max()
            .unwrap_or(0);
        let _ = write!(out, "{:width$}", "");
        for context in Context::ALL {
            let _ = write!(out, " {:>7}", context.text().0);
        }
        let _ = writeln!(out, " {:>6} {:>6}", "stack", "ns");
        for line in &self.lines {
            let _ = write!(out, "{:width$}", line.name);
            for cell in &line.cells {
                let _ = write!(out, " {:>7}", word(cell.as_ref()));
            }
            let stack = line.stack.map_or("-".into(), |bytes| bytes.to_string());
            let time = line.time.map_or("-".into(), |ns| format!("{ns:.1}"));
            let _ = writeln!(out, " {stack:>6} {time:>6}");
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let machine: serde_json::Map<_, _> = self
            .machine
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let rows: Vec<_> = self.lines.iter().map(Line::json).collect();
        json!({
            "machine": machine,
            "rows": rows,
            "calls": self.calls(),
            "failures": self.failures(),
        })
    }
}

impl Line {
    fn json(&self) -> Value {
        let contexts: serde_json::Map<_, _> = Context::ALL
            .into_iter()
            .zip(&self.cells)
            .map(|(context, cell)| {
                let failures: Vec<_> = cell
                    .iter()
                    .flat_map(|cell| &cell.failures)
                    .map(|(claim, why)| json!({ "claim": claim, "why": why }))
                    .collect();
                let value = json!({ "result": word(cell.as_ref()), "failures": failures });
                (context.text().0.to_owned(), value)
            })
            .collect();
        json!({
            "name": self.name,
            "contexts": contexts,
            "stack_bytes": self.stack,
            "ns_over_direct": self.time,
            "untried": self.untried,
        })
    }
}

fn word(cell: Option<&Cell>) -> &'static str {
    match cell {
        None => "-",
        Some(cell) if cell.failures.is_empty() => "ok",
        Some(_) => "FAILED",
    }
}
