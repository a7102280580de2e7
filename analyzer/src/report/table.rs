//! Plain text tables: columns as wide as needed, numbers to the right.

/// A table being filled.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    left: usize,
}

impl Table {
    /// A table with these headings; the first `left` columns are text and stand to the left.
    #[must_use]
    pub fn new(left: usize, headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|h| (*h).to_owned()).collect()], left }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as lines, indented by two; columns in which every cell is `-` are left out.
    #[must_use]
    pub fn render(&self) -> String {
        let columns = self.rows[0].len();
        let shown: Vec<usize> =
            (0..columns).filter(|c| self.rows.len() == 1 || self.rows[1..].iter().any(|row| row[*c] != "-")).collect();
        let width = |c: usize| self.rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::from(" ");
            for &c in &shown {
                let pad = " ".repeat(width(c) - row[c].chars().count());
                line.push(' ');
                if c < self.left {
                    line.push_str(&row[c]);
                    line.push_str(&pad);
                } else {
                    line.push_str(&pad);
                    line.push_str(&row[c]);
                }
                line.push(' ');
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_unknown_columns_go() {
        let mut table = Table::new(1, &["stage", "kernels", "nothing"]);
        table.row(vec!["a".into(), "1".into(), "-".into()]);
        table.row(vec!["bcd".into(), "1,000".into(), "-".into()]);
        assert_eq!(table.render(), "  stage  kernels\n  a            1\n  bcd      1,000\n");
    }
}
