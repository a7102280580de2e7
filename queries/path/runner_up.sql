-- @query   path.runner_up
-- @answers Where on the paths was something else nearly as late, so that mending what was last gains little?
-- @param   least_ns BIGINT = 100000  only where that much time was spent after the gate
-- @param   rows BIGINT = 20  most rows to print
-- @column  request INTEGER  `requests.request`
-- @column  position INTEGER  `critical_path.position`
-- @column  stage_id INTEGER  `stages.stage_id`
-- @column  category TEXT  `critical_path.category`
-- @column  dur_ns BIGINT  time that was spent
-- @column  gate TEXT  what opened last
-- @column  margin_ns BIGINT  how much earlier what came second was; `edges(request)` says what that is
-- @column  name TEXT  kernel or call
-- @reads   critical_path
-- @schema  >=1
SELECT request, position, stage_id, category, dur_ns, gate, margin_ns, name
FROM critical_path
WHERE margin_ns IS NOT NULL AND dur_ns >= $least_ns
ORDER BY margin_ns, dur_ns DESC, request, position
LIMIT $rows;
