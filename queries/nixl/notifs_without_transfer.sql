-- @query   nixl.notifs_without_transfer
-- @answers Which notifications end a request though no transfer carried them: was anything moved for it at all?
-- @column  message TEXT  text of the notification
-- @column  process_id BIGINT  process that sent it
-- @column  peer TEXT  agent that it went to
-- @column  sent_ns BIGINT  when
-- @column  transfers BIGINT  transfers of any process that carried the same text; 0: all of its KV was there already, or it was moved without a text
-- @column  silent_transfers BIGINT  transfers without a text that the process posted to that peer since the one before of these notifications
-- @reads   nixl_notifs, nixl_transfers
-- @schema  >=1
-- vLLM's decode sends `ID:N` by itself where it has the whole prefix (nothing is read), where it reads by several transfers that
-- carry no text, and to further ranks that hold the same KV.
WITH alone AS (
  SELECT
    message,
    process_id,
    peer,
    time_ns,
    lag(time_ns) OVER (PARTITION BY process_id, peer ORDER BY time_ns) AS before_ns
  FROM nixl_notifs
  WHERE direction = 'sent'
    AND via = 'genNotif'
    AND regexp_like(message, '^.+:[0-9]+$')
    AND NOT starts_with(message, 'HB:')
    AND NOT starts_with(message, 'PUSH_REG:')
),
carried AS (
  SELECT notif, count(*) AS transfers FROM nixl_transfers WHERE notif IS NOT NULL GROUP BY notif
)
SELECT
  a.message,
  a.process_id,
  a.peer,
  a.time_ns AS sent_ns,
  coalesce(max(c.transfers), 0) AS transfers,
  count(t.transfer_id) AS silent_transfers
FROM alone AS a
LEFT JOIN carried AS c ON c.notif = a.message
LEFT JOIN nixl_transfers AS t
  ON t.process_id = a.process_id
  AND t.peer = a.peer
  AND t.notif IS NULL
  AND t.posted_ns <= a.time_ns
  AND (a.before_ns IS NULL OR t.posted_ns > a.before_ns)
GROUP BY a.message, a.process_id, a.peer, a.time_ns
ORDER BY sent_ns, a.process_id, a.peer;
