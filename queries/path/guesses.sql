-- @query   path.guesses
-- @answers How much of the paths rests on weak joins, and on which?
-- @param   sure DOUBLE = 0.9  joins as sure as this are none
-- @column  gate TEXT  `critical_path.gate`
-- @column  method TEXT  how it was found
-- @column  confidence DOUBLE  how sure that is, 0 to 1
-- @column  category TEXT  what the time was spent on
-- @column  requests BIGINT  paths that it lies on
-- @column  segments BIGINT  times
-- @column  dur_ns BIGINT  time of all paths that rests on it
-- @column  share DOUBLE  of all times to first token, 0 to 1
-- @reads   critical_path, paths
-- @schema  >=1
SELECT
  c.gate,
  c.method,
  c.confidence,
  c.category,
  count(DISTINCT c.request) AS requests,
  count(*) AS segments,
  sum(c.dur_ns) AS dur_ns,
  CAST(sum(c.dur_ns) AS DOUBLE) / nullif((SELECT sum(ttft_ns) FROM paths), 0) AS share
FROM critical_path AS c
WHERE c.confidence < $sure
GROUP BY c.gate, c.method, c.confidence, c.category
ORDER BY dur_ns DESC, c.gate, c.method, c.category;
