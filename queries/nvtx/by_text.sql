-- @query   nvtx.by_text
-- @answers Which NVTX ranges take time, and how often do they occur?
-- @param   domain TEXT = NULL  only this domain
-- @param   rows BIGINT = 30  most rows to print
-- @column  domain TEXT  NVTX domain, if recorded
-- @column  text TEXT  text of the range
-- @column  ranges BIGINT  ranges with an end
-- @column  markers BIGINT  markers
-- @column  total_ns BIGINT  time in the ranges; nested ones count in each
-- @column  median_ns BIGINT  median of one (approximate)
-- @column  max_ns BIGINT  longest
-- @reads   nvtx_ranges
-- @schema  >=1
SELECT
  domain,
  text,
  count(dur_ns) AS ranges,
  count(*) FILTER (WHERE kind = 'marker') AS markers,
  sum(dur_ns) AS total_ns,
  CAST(approx_median(dur_ns) AS BIGINT) AS median_ns,
  max(dur_ns) AS max_ns
FROM nvtx_ranges
WHERE $domain IS NULL OR domain = $domain
GROUP BY domain, text
ORDER BY total_ns DESC NULLS LAST, domain, text
LIMIT $rows;
