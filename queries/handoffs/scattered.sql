-- @query   handoffs.scattered
-- @answers Which hand-offs went in small pieces, and what did the same ends reach with large ones?
-- @column  request INTEGER  `requests.request`
-- @column  stage_id INTEGER  sending stage
-- @column  bytes BIGINT  KV bytes
-- @column  pieces BIGINT  copies, else descriptors
-- @column  piece_median_bytes BIGINT  median size of a piece
-- @column  small_share DOUBLE  of the bytes, in pieces below 1.05 MB (2^20 bytes), 0 to 1
-- @column  gb_per_s DOUBLE  rate
-- @column  ceiling_gb_per_s DOUBLE  ceiling
-- @column  ceiling_method TEXT  where the ceiling comes from
-- @column  of_ceiling DOUBLE  rate against the ceiling, 0 to 1
-- @column  finding TEXT  `handoffs.finding`
-- @reads   handoffs
-- @schema  >=1
SELECT
  request,
  stage_id,
  bytes,
  coalesce(copies, descriptors) AS pieces,
  piece_median_bytes,
  CAST(small_piece_bytes AS DOUBLE) / nullif(bytes, 0) AS small_share,
  rate_bytes_per_s / 1e9 AS gb_per_s,
  ceiling_bytes_per_s / 1e9 AS ceiling_gb_per_s,
  ceiling_method,
  rate_bytes_per_s / nullif(ceiling_bytes_per_s, 0) AS of_ceiling,
  finding
FROM handoffs
ORDER BY small_share DESC NULLS LAST, of_ceiling, request, stage_id;
