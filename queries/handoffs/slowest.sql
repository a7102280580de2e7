-- @query   handoffs.slowest
-- @answers Which hand-offs took longest, and how far below their ceiling were they?
-- @param   rows BIGINT = 20  most rows to print
-- @column  request INTEGER  `requests.request`
-- @column  request_id TEXT  id by the serving engine, if known
-- @column  stage_id INTEGER  sending stage
-- @column  bytes BIGINT  KV bytes
-- @column  span_ns BIGINT  `handoffs.span_ns`: the copies' span, else first post to completion seen
-- @column  gb_per_s DOUBLE  bytes over that span
-- @column  of_ceiling DOUBLE  rate against the ceiling, 0 to 1
-- @column  finding TEXT  `handoffs.finding`
-- @reads   handoffs, requests
-- @schema  >=1
SELECT
  h.request,
  r.request_id,
  h.stage_id,
  h.bytes,
  h.span_ns,
  h.rate_bytes_per_s / 1e9 AS gb_per_s,
  h.rate_bytes_per_s / nullif(h.ceiling_bytes_per_s, 0) AS of_ceiling,
  h.finding
FROM handoffs AS h
LEFT JOIN requests AS r ON r.request = h.request
ORDER BY h.span_ns DESC NULLS LAST, h.request, h.stage_id
LIMIT $rows;
