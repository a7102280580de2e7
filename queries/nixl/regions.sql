-- @query   nixl.regions
-- @answers What memory did each agent register with NIXL, in how many regions, and how long did that take?
-- @column  process_id BIGINT  `processes.process_id`
-- @column  agent TEXT  name of the agent, if its making was seen
-- @column  memory TEXT  `DRAM`, `VRAM`, …
-- @column  device_id BIGINT  device (0 for DRAM)
-- @column  regions BIGINT  regions; engines register one or two a layer
-- @column  bytes BIGINT  bytes of them
-- @column  first_ns BIGINT  first registration
-- @column  longest_call_ns BIGINT  longest time in one `registerMem`
-- @reads   nixl_regions
-- @schema  >=1
SELECT
  process_id,
  agent,
  memory,
  device_id,
  count(*) AS regions,
  sum(bytes) AS bytes,
  min(time_ns) AS first_ns,
  max(dur_ns) AS longest_call_ns
FROM nixl_regions
GROUP BY process_id, agent, memory, device_id
ORDER BY process_id, agent, memory, device_id;
