-- @query   nixl.notifs_taken
-- @answers How long do NIXL notifications lie at their receiver before its program takes them?
-- @param   rows BIGINT = 50  most rows to print, the longest first
-- @column  message TEXT  text of the notification
-- @column  process_id BIGINT  process where it arrived
-- @column  peer TEXT  agent that sent it
-- @column  arrived_ns BIGINT  when it arrived
-- @column  waited_ns BIGINT  from then to the end of the getNotifs that took it; null if none was recorded, or not surely its own
-- @reads   nixl_notifs
-- @schema  >=1
-- A getNotifs takes all that has arrived, so what it took of a text has arrived since the one before that took any.
WITH ends AS (
  SELECT
    message,
    process_id,
    peer,
    direction,
    time_ns,
    min(CASE WHEN direction = 'taken' THEN time_ns END) OVER (
      PARTITION BY process_id, peer, message
      ORDER BY time_ns, direction
      ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    ) AS taken_ns
  FROM nixl_notifs
  WHERE direction IN ('arrived', 'taken')
),
counted AS (
  SELECT
    *,
    count(*) FILTER (WHERE direction = 'taken') OVER (PARTITION BY process_id, peer, message, taken_ns) AS taken,
    count(*) FILTER (WHERE direction = 'arrived') OVER (PARTITION BY process_id, peer, message, taken_ns) AS arrived
  FROM ends
)
SELECT
  message,
  process_id,
  peer,
  time_ns AS arrived_ns,
  CASE WHEN taken = arrived THEN taken_ns - time_ns END AS waited_ns
FROM counted
WHERE direction = 'arrived'
ORDER BY waited_ns DESC NULLS FIRST, arrived_ns, message, process_id
LIMIT $rows;
