-- @query   ucx.transports
-- @answers Which transports does UCX use in each process, and how often?
-- @column  process_id BIGINT  `processes.process_id`
-- @column  transport TEXT  transport
-- @column  function TEXT  its function
-- @column  calls BIGINT  times that it was entered, within send calls or by progress
-- @column  ops BIGINT  send calls that entered it first
-- @column  op_bytes BIGINT  payload of these
-- @reads   ucx_transport_calls, ucx_ops
-- @schema  >=1
SELECT
  c.process_id,
  c.transport,
  c.function,
  c.calls,
  coalesce(o.ops, 0) AS ops,
  coalesce(o.bytes, 0) AS op_bytes
FROM (
  SELECT process_id, transport, function, sum(calls) AS calls
  FROM ucx_transport_calls
  GROUP BY process_id, transport, function
) c
LEFT JOIN (
  SELECT process_id, transport, function, count(*) AS ops, sum(bytes) AS bytes
  FROM ucx_ops
  GROUP BY process_id, transport, function
) o
  ON o.process_id = c.process_id AND o.transport = c.transport AND o.function = c.function
ORDER BY c.process_id, c.calls DESC, c.transport, c.function;
