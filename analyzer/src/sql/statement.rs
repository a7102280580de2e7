//! Which statements are answered: those that read.

use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SQLOptions;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Sql;

use super::error::SqlError;

/// Refuses every statement that is not known to read only. A list of what is allowed, because one of what is forbidden
/// would miss what the engine learns next.
///
/// # Errors
/// Names the statement.
pub fn check(statement: &Statement) -> Result<(), SqlError> {
    let allowed = match statement {
        Statement::Statement(statement) => reads_only(statement),
        Statement::Explain(explain) => return check(&explain.statement),
        Statement::CopyTo(_) | Statement::CreateExternalTable(_) | Statement::Reset(_) => false,
    };
    if allowed { Ok(()) } else { Err(SqlError::Forbidden(name(&statement.to_string()))) }
}

fn reads_only(statement: &Sql) -> bool {
    match statement {
        Sql::Query(_)
        | Sql::ExplainTable { .. }
        | Sql::ShowTables { .. }
        | Sql::ShowColumns { .. }
        | Sql::ShowFunctions { .. }
        | Sql::ShowVariable { .. } => true,
        Sql::Explain { statement, .. } => reads_only(statement),
        _ => false,
    }
}

/// The same for what a plan turned out to hold.
///
/// # Errors
/// Names what it holds.
pub fn check_plan(plan: &LogicalPlan) -> Result<(), SqlError> {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(plan)
        .map_err(|error| SqlError::Forbidden(error.message().into_owned()))
}

/// The first words of a statement, in capitals: `CREATE EXTERNAL TABLE`.
fn name(statement: &str) -> String {
    let words = statement.split_whitespace().take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()));
    let name = words.take(3).collect::<Vec<_>>().join(" ");
    if name.is_empty() { "this statement".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::parser::DFParser;

    fn verdict(sql: &str) -> Result<(), String> {
        check(&DFParser::parse_sql(sql).unwrap()[0]).map_err(|error| error.to_string())
    }

    #[test]
    fn reading_is_allowed() {
        for sql in [
            "SELECT 1",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "DESCRIBE kernels",
            "SHOW TABLES",
            "VALUES (1)",
        ] {
            assert_eq!(verdict(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn whatever_writes_or_configures_is_refused_by_name() {
        for (sql, name) in [
            ("COPY kernels TO 'x.parquet'", "COPY"),
            ("COPY (SELECT 1) TO 'x.csv'", "COPY"),
            ("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/x'", "CREATE EXTERNAL TABLE"),
            ("CREATE TABLE t AS SELECT 1", "CREATE TABLE"),
            ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
            ("INSERT INTO kernels VALUES (1)", "INSERT INTO"),
            ("UPDATE kernels SET dur_ns = 0", "UPDATE"),
            ("DELETE FROM kernels", "DELETE FROM"),
            ("DROP TABLE kernels", "DROP TABLE"),
            ("SET datafusion.execution.batch_size = 1", "SET"),
            ("RESET datafusion.execution.batch_size", "RESET"),
            ("PREPARE p AS SELECT 1", "PREPARE"),
            ("EXPLAIN INSERT INTO kernels VALUES (1)", "INSERT INTO"),
            ("EXPLAIN ANALYZE COPY kernels TO 'x.parquet'", "COPY"),
        ] {
            let error = verdict(sql).unwrap_err();
            assert!(error.starts_with(name) && error.contains("never modified"), "{sql}: {error}");
        }
    }
}
