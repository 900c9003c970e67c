-- Which ids of a range of hashes the id look-up holds more than once. The table is ordered by hash, so a range is a stretch of it.
SELECT toInt64(count()) AS ids, toInt64(sum(n - 1)) AS surplus, arrayStringConcat(groupArray(5)(hex(id_hash)), ',') AS some
FROM
(
    SELECT id_hash, count() AS n
    FROM usage_ids
    WHERE id_hash >= toFixedString(unhex({from:String}), 16) AND id_hash <= toFixedString(unhex({to:String}), 16)
    GROUP BY id_hash
    HAVING n > 1
)
