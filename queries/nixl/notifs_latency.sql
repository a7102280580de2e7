-- @query   nixl.notifs_latency
-- @answers How long do NIXL notifications travel, from the call that sends them to their arrival?
-- @param   rows BIGINT = 50  most rows to print, the slowest first
-- @column  message TEXT  text of the notification
-- @column  sent_by BIGINT  process that sent it
-- @column  arrived_at BIGINT  process where it arrived; null if it was not seen to arrive
-- @column  via TEXT  `transfer` (goes out after the data) or `genNotif`
-- @column  sent_ns BIGINT  when
-- @column  latency_ns BIGINT  from sent to arrived; of one sent with a transfer, the transfer's own time is in it
-- @reads   nixl_notifs
-- @schema  >=1
-- A text may be sent more than once: the nth sent is joined with the nth arrived.
WITH numbered AS (
  SELECT
    message,
    direction,
    via,
    process_id,
    time_ns,
    row_number() OVER (PARTITION BY message, direction ORDER BY time_ns) AS nth
  FROM nixl_notifs
)
SELECT
  s.message,
  s.process_id AS sent_by,
  a.process_id AS arrived_at,
  s.via,
  s.time_ns AS sent_ns,
  a.time_ns - s.time_ns AS latency_ns
FROM numbered AS s
LEFT JOIN numbered AS a ON a.message = s.message AND a.nth = s.nth AND a.direction = 'arrived'
WHERE s.direction = 'sent'
ORDER BY latency_ns DESC NULLS FIRST, s.time_ns, s.message
LIMIT $rows;
