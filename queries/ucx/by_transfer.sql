-- @query   ucx.by_transfer
-- @answers What did UCX make of a NIXL transfer: how many ops, over which transport, and how long did sending them take?
-- @param   rows BIGINT = 50  most rows to print, those with the longest post first
-- @column  transfer_id BIGINT  `nixl_transfers.transfer_id`
-- @column  request TEXT  request id read from its notif
-- @column  op TEXT  `ucx_ops.op`
-- @column  transport TEXT  transport that the ops entered first; null if they were left to UCX's progress
-- @column  function TEXT  its function
-- @column  ops BIGINT  ops of it in the post
-- @column  bytes BIGINT  payload of these
-- @column  transfer_bytes BIGINT  payload of the transfer
-- @column  send_ns BIGINT  in these calls
-- @column  post_ns BIGINT  in the post call
-- @column  ended_by_ns BIGINT  from the post's entry until the last of them was known to have ended
-- @column  not_ended BIGINT  ops that were not seen to end
-- @reads   nixl_transfers, ucx_ops
-- @schema  >=1
SELECT
  t.transfer_id,
  t.request,
  o.op,
  o.transport,
  o.function,
  count(*) AS ops,
  sum(o.bytes) AS bytes,
  t.bytes AS transfer_bytes,
  sum(o.dur_ns) AS send_ns,
  t.post_end_ns - t.posted_ns AS post_ns,
  max(o.ended_by_ns) - t.posted_ns AS ended_by_ns,
  count(*) FILTER (WHERE o.ended_by_ns IS NULL) AS not_ended
FROM nixl_transfers t
JOIN ucx_ops o
  ON o.process_id = t.process_id AND o.tid = t.tid AND o.start_ns BETWEEN t.posted_ns AND t.post_end_ns
GROUP BY t.transfer_id, t.request, o.op, o.transport, o.function, t.bytes, t.post_end_ns, t.posted_ns
ORDER BY post_ns DESC, t.transfer_id, ops DESC, o.op, o.transport
LIMIT $rows;
