-- @query   rdma.setup
-- @answers What did setting up RDMA cost each process: registering memory, making and connecting queue pairs?
-- @column  process_id BIGINT  `processes.process_id`
-- @column  op TEXT  `rdma_ops.op`
-- @column  qp_state TEXT  of `modify_qp`, the state that was asked for
-- @column  calls BIGINT  calls
-- @column  failed BIGINT  of these, refused; drivers try out what a device can
-- @column  bytes BIGINT  memory that was registered
-- @column  total_ns BIGINT  time in these calls
-- @column  longest_ns BIGINT  in the longest
-- @reads   rdma_ops
-- @schema  >=1
SELECT
  process_id,
  op,
  qp_state,
  count(*) AS calls,
  count(*) FILTER (WHERE status <> 'ok') AS failed,
  sum(bytes) FILTER (WHERE status = 'ok') AS bytes,
  sum(dur_ns) AS total_ns,
  max(dur_ns) AS longest_ns
FROM rdma_ops
GROUP BY process_id, op, qp_state
ORDER BY process_id, total_ns DESC, op, qp_state;
