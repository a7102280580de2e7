-- @query   capture.coverage
-- @answers What does the recording hold of each process, and where did one fall silent before the others?
-- @column  process_id BIGINT  `processes.process_id`
-- @column  process TEXT  process title
-- @column  table_name TEXT  raw table
-- @column  rows BIGINT  rows
-- @column  first_ns BIGINT  first row's start
-- @column  last_ns BIGINT  last row's end
-- @column  ends_early_ns BIGINT  how long before the last record of the run
-- @column  verdict TEXT  `complete`, or why records are thought to be lost
-- @reads   coverage
-- @schema  >=1
SELECT process_id, process, table_name, rows, first_ns, last_ns, ends_early_ns, verdict
FROM coverage
ORDER BY ends_early_ns DESC, process_id, table_name;
