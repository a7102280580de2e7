-- @query   nixl.merging
-- @answers How well do descriptors merge: how many are asked for, how many are left, and how large are they?
-- @column  agent TEXT  who posted
-- @column  peer TEXT  the other end
-- @column  op TEXT  `WRITE` or `READ`
-- @column  transfers BIGINT  transfers whose descriptors are known
-- @column  made_descriptors BIGINT  descriptors asked for
-- @column  descriptors BIGINT  descriptors after merging
-- @column  merged_by DOUBLE  the first over the second; 1 where nothing merged
-- @column  bytes_a_descriptor DOUBLE  mean size after merging
-- @reads   nixl_transfers
-- @schema  >=1
SELECT
  agent,
  peer,
  op,
  count(*) AS transfers,
  sum(made_descriptors) AS made_descriptors,
  sum(descriptors) AS descriptors,
  CAST(sum(made_descriptors) AS DOUBLE) / nullif(sum(descriptors), 0) AS merged_by,
  CAST(sum(bytes) AS DOUBLE) / nullif(sum(descriptors), 0) AS bytes_a_descriptor
FROM nixl_transfers
WHERE made_descriptors IS NOT NULL AND descriptors IS NOT NULL
GROUP BY agent, peer, op
ORDER BY descriptors DESC, agent, peer, op;
