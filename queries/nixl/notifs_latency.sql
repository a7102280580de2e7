-- @query   nixl.notifs_latency
-- @answers How long do NIXL notifications travel, from the call that sends them to their arrival?
-- @param   rows BIGINT = 50  most rows to print, the slowest first
-- @column  message TEXT  text of the notification
-- @column  sent_by BIGINT  process that sent it
-- @column  arrived_at BIGINT  process where it arrived; null if it was not seen to arrive, or which did is not known
-- @column  via TEXT  `transfer` (goes out after the data) or `genNotif`
-- @column  sent_ns BIGINT  when
-- @column  latency_ns BIGINT  from sent to arrived; of one sent with a transfer, the transfer's own time is in it
-- @reads   nixl_agents, nixl_notifs
-- @schema  >=1
-- A text may be sent more than once, and to several: between two processes the nth sent is joined with the nth arrived, if as many
-- arrived as were sent, else it is not known which. An agent's name is of the process that made one of that name last by then; a
-- text whose ends are not all known so is numbered as a whole.
WITH makers AS (
  SELECT
    name,
    process_id,
    CASE WHEN row_number() OVER (PARTITION BY name ORDER BY time_ns, process_id) > 1 THEN time_ns END AS since_ns,
    lead(time_ns) OVER (PARTITION BY name ORDER BY time_ns, process_id) AS until_ns
  FROM nixl_agents
),
ends AS (
  SELECT
    n.message,
    n.direction,
    n.via,
    n.process_id,
    n.tid,
    n.time_ns,
    bool_or(m.process_id IS NULL) OVER (PARTITION BY n.message) AS is_open,
    CASE WHEN n.direction = 'sent' THEN n.process_id ELSE m.process_id END AS sender,
    CASE WHEN n.direction = 'sent' THEN m.process_id ELSE n.process_id END AS receiver
  FROM nixl_notifs AS n
  LEFT JOIN makers AS m
    ON m.name = n.peer
    AND (m.since_ns IS NULL OR m.since_ns <= n.time_ns)
    AND (m.until_ns IS NULL OR n.time_ns < m.until_ns)
),
between_two AS (
  SELECT
    *,
    CASE WHEN NOT is_open THEN sender END AS from_process,
    CASE WHEN NOT is_open THEN receiver END AS to_process
  FROM ends
),
numbered AS (
  SELECT
    *,
    row_number() OVER (
      PARTITION BY message, direction, from_process, to_process ORDER BY time_ns, process_id, tid
    ) AS nth,
    count(*) OVER (PARTITION BY message, direction, from_process, to_process) AS all_of_it
  FROM between_two
)
SELECT
  s.message,
  s.process_id AS sent_by,
  a.process_id AS arrived_at,
  s.via,
  s.time_ns AS sent_ns,
  a.time_ns - s.time_ns AS latency_ns
FROM numbered AS s
LEFT JOIN numbered AS a
  ON a.message = s.message
  AND a.nth = s.nth
  AND a.all_of_it = s.all_of_it
  AND a.time_ns >= s.time_ns
  AND (a.from_process IS NOT DISTINCT FROM s.from_process)
  AND (a.to_process IS NOT DISTINCT FROM s.to_process)
  AND a.direction = 'arrived'
WHERE s.direction = 'sent'
ORDER BY latency_ns DESC NULLS FIRST, s.time_ns, s.message, s.process_id
LIMIT $rows;
