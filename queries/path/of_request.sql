-- @query   path.of_request
-- @answers What did the first token of a request wait for, from its arrival on?
-- @param   request INTEGER = NULL  `requests.request`; by default the one that took longest
-- @param   least_ns BIGINT = 0  leaves out segments that are shorter
-- @column  position INTEGER  `critical_path.position`
-- @column  at_ns BIGINT  start, since the request's arrival
-- @column  dur_ns BIGINT  length
-- @column  share DOUBLE  of the time to first token, 0 to 1
-- @column  stage_id INTEGER  `stages.stage_id`
-- @column  category TEXT  `critical_path.category`
-- @column  chunk INTEGER  `chunks.chunk`
-- @column  layer INTEGER  `layers.layer`
-- @column  gate TEXT  what it waited for: `critical_path.gate`
-- @column  margin_ns BIGINT  how much earlier what came second was
-- @column  name TEXT  kernel or call
-- @reads   critical_path, paths
-- @schema  >=1
SELECT
  c.position,
  c.start_ns - p.source_ns AS at_ns,
  c.dur_ns,
  CAST(c.dur_ns AS DOUBLE) / nullif(p.ttft_ns, 0) AS share,
  c.stage_id,
  c.category,
  c.chunk,
  c.layer,
  c.gate,
  c.margin_ns,
  c.name
FROM critical_path AS c
JOIN paths AS p ON p.request = c.request
WHERE
  c.request = coalesce($request, (SELECT request FROM paths ORDER BY ttft_ns DESC, request LIMIT 1))
  AND c.dur_ns >= $least_ns
ORDER BY c.position;
