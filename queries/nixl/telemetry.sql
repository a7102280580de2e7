-- @query   nixl.telemetry
-- @answers Does NIXL's own telemetry count the same transfers and bytes as the probes?
-- @column  agent TEXT  name of the agent
-- @column  told_requests BIGINT  transfers that telemetry counted
-- @column  seen_requests BIGINT  recorded transfers that ended well
-- @column  told_bytes BIGINT  their bytes by telemetry
-- @column  seen_bytes BIGINT  their bytes as recorded
-- @column  told_registered_bytes BIGINT  registered memory by telemetry
-- @column  seen_registered_bytes BIGINT  registered memory as recorded
-- @column  agree BOOLEAN  whether all are the same; what ended or registered as recording began or ended may be on one side only
-- @reads   nixl_regions, nixl_telemetry, nixl_transfers
-- @schema  >=1
WITH told AS (
  SELECT
    agent,
    sum(CASE WHEN event IN ('tx_requests', 'rx_requests') THEN value ELSE 0 END) AS requests,
    sum(CASE WHEN event IN ('tx_bytes', 'rx_bytes') THEN value ELSE 0 END) AS bytes,
    sum(CASE WHEN event = 'mem_registered' THEN value ELSE 0 END) AS registered
  FROM nixl_telemetry
  GROUP BY agent
),
seen AS (
  SELECT agent, count(*) AS requests, sum(bytes) AS bytes FROM nixl_transfers WHERE status = 'done' GROUP BY agent
),
registered AS (
  SELECT agent, sum(bytes) AS bytes FROM nixl_regions GROUP BY agent
),
compared AS (
  SELECT
    told.agent,
    told.requests AS told_requests,
    coalesce(seen.requests, 0) AS seen_requests,
    told.bytes AS told_bytes,
    coalesce(seen.bytes, 0) AS seen_bytes,
    told.registered AS told_registered_bytes,
    coalesce(registered.bytes, 0) AS seen_registered_bytes
  FROM told
  LEFT JOIN seen ON told.agent = seen.agent
  LEFT JOIN registered ON told.agent = registered.agent
)
SELECT
  agent,
  told_requests,
  seen_requests,
  told_bytes,
  seen_bytes,
  told_registered_bytes,
  seen_registered_bytes,
  told_requests = seen_requests AND told_bytes = seen_bytes AND told_registered_bytes = seen_registered_bytes AS agree
FROM compared
ORDER BY agent;
