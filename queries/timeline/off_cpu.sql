-- @query   timeline.off_cpu
-- @answers Were the threads that post, poll and launch kept from running, and how long did they wait for a CPU?
-- @param   rows BIGINT = 50  most rows to print, those that waited longest first
-- @column  process_id BIGINT  `processes.process_id`
-- @column  tid INTEGER  thread
-- @column  thread TEXT  its name
-- @column  off_ns BIGINT  off the CPU
-- @column  run_queue_ns BIGINT  of that, ready to run and waiting for a CPU
-- @column  longest_wait_ns BIGINT  the longest such wait of one interval of 200 us or more
-- @column  preempted_ns BIGINT  off the CPU after it was preempted, in such intervals
-- @column  intervals BIGINT  how often it went off
-- @reads   sched, threads
-- @schema  >=1
SELECT
  s.process_id,
  s.tid,
  t.name AS thread,
  sum(s.off_ns) AS off_ns,
  sum(s.run_queue_ns) AS run_queue_ns,
  coalesce(max(s.run_queue_ns) FILTER (WHERE s.state <> 'short'), 0) AS longest_wait_ns,
  coalesce(sum(s.off_ns) FILTER (WHERE s.state = 'preempted'), 0) AS preempted_ns,
  sum(s.intervals) AS intervals
FROM sched s
LEFT JOIN threads t
  ON t.process_id = s.process_id AND t.tid = s.tid
GROUP BY s.process_id, s.tid, t.name
ORDER BY run_queue_ns DESC, s.process_id, s.tid
LIMIT $rows;
