-- The partitions of which a table has rows on more than one shard.
SELECT stream, partition, toInt64(uniqExact(_shard_num)) AS shards
FROM {{.Table}}
GROUP BY stream, partition
HAVING shards > 1
ORDER BY stream, partition
