-- @query   handoffs.transfers
-- @answers Where does the life of a NIXL transfer go: making, waiting, posting, the wire, release?
-- @param   rows BIGINT = 50  most rows to print, those with the longest pending time first
-- @column  transfer_id BIGINT  `nixl_transfers.transfer_id`
-- @column  request TEXT  request id read from its notif
-- @column  agent TEXT  who posted
-- @column  peer TEXT  the other end
-- @column  op TEXT  `WRITE` or `READ`
-- @column  bytes BIGINT  payload
-- @column  made_descriptors BIGINT  descriptors asked for
-- @column  descriptors BIGINT  descriptors after merging
-- @column  make_ns BIGINT  in the make call
-- @column  made_to_post_ns BIGINT  from the end of make to post
-- @column  post_ns BIGINT  in the post call
-- @column  pending_at_least_ns BIGINT  from post to the last poll that still said in progress; 0 without such a poll
-- @column  pending_at_most_ns BIGINT  from post to the poll that said done, or to the release where polls were not recorded: completion lies between the two
-- @column  done_to_release_ns BIGINT  from that poll to release; null without it
-- @column  pending_polls BIGINT  polls that said in progress; null if not all were recorded
-- @column  status TEXT  `nixl_transfers.status`
-- @reads   nixl_transfers
-- @schema  >=1
SELECT
  transfer_id,
  request,
  agent,
  peer,
  op,
  bytes,
  made_descriptors,
  descriptors,
  make_dur_ns AS make_ns,
  posted_ns - made_ns - make_dur_ns AS made_to_post_ns,
  post_end_ns - posted_ns AS post_ns,
  coalesce(last_pending_poll_ns, posted_ns) - posted_ns AS pending_at_least_ns,
  coalesce(done_poll_ns, CASE WHEN status = 'done' THEN released_ns END) - posted_ns AS pending_at_most_ns,
  released_ns - done_poll_ns AS done_to_release_ns,
  pending_polls,
  status
FROM nixl_transfers
ORDER BY pending_at_most_ns DESC NULLS FIRST, transfer_id
LIMIT $rows;
