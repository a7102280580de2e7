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
WITH calls AS (
  SELECT process_id, peer, message, time_ns, count(*) AS taken
  FROM nixl_notifs
  WHERE direction = 'taken'
  GROUP BY process_id, peer, message, time_ns
),
takings AS (
  SELECT *, lag(time_ns) OVER (PARTITION BY process_id, peer, message ORDER BY time_ns) AS since_ns
  FROM calls
),
arrivals AS (
  SELECT
    a.message,
    a.process_id,
    a.peer,
    a.time_ns AS arrived_ns,
    t.time_ns AS taken_ns,
    t.taken,
    count(*) OVER (PARTITION BY a.process_id, a.peer, a.message, t.time_ns) AS arrived
  FROM nixl_notifs AS a
  LEFT JOIN takings AS t
    ON t.process_id = a.process_id
    AND t.peer = a.peer
    AND t.message = a.message
    AND a.time_ns <= t.time_ns
    AND (t.since_ns IS NULL OR a.time_ns > t.since_ns)
  WHERE a.direction = 'arrived'
)
SELECT message, process_id, peer, arrived_ns, CASE WHEN taken = arrived THEN taken_ns - arrived_ns END AS waited_ns
FROM arrivals
ORDER BY waited_ns DESC NULLS FIRST, arrived_ns, message, process_id
LIMIT $rows;
