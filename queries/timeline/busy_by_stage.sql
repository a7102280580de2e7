-- @query   timeline.busy_by_stage
-- @answers How much of its chunks' time does each stage compute, talk to its peers, or idle?
-- @column  stage_id INTEGER  `stages.stage_id`
-- @column  name TEXT  process title
-- @column  chunks BIGINT  chunks of all requests
-- @column  chunk_ns BIGINT  time of these chunks, from first to last kernel each
-- @column  compute_ns BIGINT  at least one compute kernel ran
-- @column  p2p_ns BIGINT  a communication kernel ran, waiting for the peer included
-- @column  p2p_exposed_ns BIGINT  of `p2p_ns`, without compute beside it
-- @column  idle_ns BIGINT  no kernel ran
-- @column  compute_share DOUBLE  `compute_ns` of `chunk_ns`, 0 to 1
-- @reads   chunks, stages
-- @schema  >=1
SELECT
  s.stage_id,
  s.name,
  count(*) AS chunks,
  sum(c.dur_ns) AS chunk_ns,
  sum(c.compute_ns) AS compute_ns,
  sum(c.p2p_ns) AS p2p_ns,
  sum(c.p2p_exposed_ns) AS p2p_exposed_ns,
  sum(c.idle_ns) AS idle_ns,
  CAST(sum(c.compute_ns) AS DOUBLE) / nullif(sum(c.dur_ns), 0) AS compute_share
FROM stages AS s
JOIN chunks AS c ON c.stage_id = s.stage_id
GROUP BY s.stage_id, s.name
ORDER BY s.stage_id;
