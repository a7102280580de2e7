-- @query   capture.joins
-- @answers What could be joined with what, by which method, how surely, and how much of it is unknown?
-- @param   sure DOUBLE = 2  only joins less sure than this
-- @column  process_id BIGINT  `processes.process_id`; null for the run as a whole
-- @column  process TEXT  process title
-- @column  kind TEXT  what was joined with what
-- @column  table_name TEXT  raw table whose rows are counted
-- @column  method TEXT  how; `none` if nothing was joined
-- @column  confidence DOUBLE  how sure that is, 0 to 1
-- @column  rows BIGINT  rows of this kind and process
-- @column  joined BIGINT  joined by this method
-- @column  unknown BIGINT  joined by none
-- @column  joined_share DOUBLE  `joined` of `rows`
-- @column  unknown_share DOUBLE  `unknown` of `rows`
-- @reads   joins
-- @schema  >=1
SELECT
  process_id,
  process,
  kind,
  table_name,
  method,
  confidence,
  rows,
  joined,
  unknown,
  CAST(joined AS DOUBLE) / rows AS joined_share,
  CAST(unknown AS DOUBLE) / rows AS unknown_share
FROM joins
WHERE confidence < $sure
ORDER BY unknown_share DESC, kind, process_id, joined_share DESC, method;
