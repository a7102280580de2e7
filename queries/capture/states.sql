-- @query   capture.states
-- @answers What was recorded from when to when, and what was not, and why?
-- @column  source TEXT  source
-- @column  subject TEXT  what it is about: a source, library, probe, group of probes, process, ring or file
-- @column  name TEXT  which: a path, an OS pid, the name of a group
-- @column  state TEXT  recording, waiting, off, silent; or, where records are missing, shed, unknown_build, contradicted, spared, refused, unavailable, unreadable, not_drained or displaced
-- @column  since_ns BIGINT  since when
-- @column  until_ns BIGINT  until when; null: the recording has no end
-- @column  reason TEXT  why, or how
-- @reads   source_states
-- @schema  >=1
SELECT source, subject, name, state, since_ns, until_ns, reason
FROM source_states
ORDER BY source, subject, name, since_ns, state;
