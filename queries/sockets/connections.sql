-- @query   sockets.connections
-- @answers What went over which connection: UCX over TCP, side channels?
-- @param   rows BIGINT = 50  most rows to print, those that carried most first
-- @column  process_id BIGINT  `processes.process_id`
-- @column  family TEXT  `sockets.family`
-- @column  protocol TEXT  `sockets.protocol`
-- @column  local TEXT  own address and port
-- @column  remote TEXT  the other end's
-- @column  sent_bytes BIGINT  sent
-- @column  sent_calls BIGINT  calls that sent
-- @column  received_bytes BIGINT  received
-- @column  received_calls BIGINT  calls that received
-- @column  errors BIGINT  calls that failed
-- @column  open_ns BIGINT  from the first recorded call to the last
-- @reads   sockets
-- @schema  >=1
SELECT
  process_id,
  family,
  protocol,
  local,
  remote,
  sum(sent_bytes) AS sent_bytes,
  sum(sent_calls) AS sent_calls,
  sum(received_bytes) AS received_bytes,
  sum(received_calls) AS received_calls,
  sum(errors) AS errors,
  max(last_ns) - min(first_ns) AS open_ns
FROM sockets
GROUP BY process_id, family, protocol, local, remote, socket
ORDER BY sent_bytes + received_bytes DESC, process_id, local, remote, socket
LIMIT $rows;
