-- @query   requests.ttft_parts
-- @answers How does each request's time to the first decode kernel divide into prefill, hand-off and decode's wait?
-- @column  request INTEGER  `requests.request`
-- @column  request_id TEXT  id by the serving engine, if known
-- @column  total_ns BIGINT  from the first activity to the last of the ends below that was recorded
-- @column  prefill_ns BIGINT  until the last chunk ends
-- @column  handoff_exposed_ns BIGINT  until the last hand-off ends
-- @column  decode_wait_ns BIGINT  until the first decode kernel after it
-- @column  prefill_share DOUBLE  of `total_ns`, 0 to 1
-- @column  handoff_share DOUBLE  of `total_ns`, 0 to 1
-- @reads   requests
-- @schema  >=1
WITH parts AS (
  SELECT
    request,
    request_id,
    coalesce(decode_start_ns, handoff_end_ns, prefill_end_ns) - start_ns AS total_ns,
    prefill_ns,
    handoff_exposed_ns,
    decode_start_ns - handoff_end_ns AS decode_wait_ns
  FROM requests
)
SELECT
  request,
  request_id,
  total_ns,
  prefill_ns,
  handoff_exposed_ns,
  decode_wait_ns,
  CAST(prefill_ns AS DOUBLE) / nullif(total_ns, 0) AS prefill_share,
  CAST(handoff_exposed_ns AS DOUBLE) / nullif(total_ns, 0) AS handoff_share
FROM parts
ORDER BY total_ns DESC NULLS LAST, request;
