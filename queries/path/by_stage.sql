-- @query   path.by_stage
-- @answers On which stage, and on what, is the time to first token spent: in requests about the median, and in the slowest?
-- @column  stage_id INTEGER  `stages.stage_id`
-- @column  category TEXT  `critical_path.category`
-- @column  median_ns BIGINT  mean time on the path in the middle fifth of the requests, by their time to first token
-- @column  median_share DOUBLE  of their mean time to first token, 0 to 1
-- @column  slowest_ns BIGINT  the same in the slowest hundredth, one request at least
-- @column  slowest_share DOUBLE  of their mean time to first token, 0 to 1
-- @reads   critical_path, paths
-- @schema  >=1
WITH ranked AS (
  SELECT request, ttft_ns, row_number() OVER (ORDER BY ttft_ns, request) - 1 AS rank, count(*) OVER () AS n
  FROM paths
),
cohorts AS (
  SELECT
    request,
    ttft_ns,
    rank >= n * 2 / 5 AND rank < greatest((n * 3 + 4) / 5, n * 2 / 5 + 1) AS is_median,
    rank >= least(n * 99 / 100, n - 1) AS is_slowest
  FROM ranked
),
whole AS (
  SELECT
    count(*) FILTER (WHERE is_median) AS medians,
    count(*) FILTER (WHERE is_slowest) AS slowest,
    sum(ttft_ns) FILTER (WHERE is_median) AS median_ns,
    sum(ttft_ns) FILTER (WHERE is_slowest) AS slowest_ns
  FROM cohorts
),
parts AS (
  SELECT
    p.stage_id,
    p.category,
    coalesce(sum(p.dur_ns) FILTER (WHERE c.is_median), 0) AS median_ns,
    coalesce(sum(p.dur_ns) FILTER (WHERE c.is_slowest), 0) AS slowest_ns
  FROM critical_path AS p
  JOIN cohorts AS c ON c.request = p.request
  GROUP BY p.stage_id, p.category
)
SELECT
  p.stage_id,
  p.category,
  p.median_ns / nullif(w.medians, 0) AS median_ns,
  CAST(p.median_ns AS DOUBLE) / nullif(w.median_ns, 0) AS median_share,
  p.slowest_ns / nullif(w.slowest, 0) AS slowest_ns,
  CAST(p.slowest_ns AS DOUBLE) / nullif(w.slowest_ns, 0) AS slowest_share
FROM parts AS p
CROSS JOIN whole AS w
WHERE p.median_ns > 0 OR p.slowest_ns > 0
ORDER BY p.stage_id NULLS LAST, median_ns DESC, slowest_ns DESC, p.category;
