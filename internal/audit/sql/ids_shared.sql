-- Which keys of a range the id look-up holds more than once: how many, and the first of them. The table is ordered by key, so a range is a stretch of it.
SELECT toInt64(count()) AS shared, arrayStringConcat(groupArray({listed:UInt64})(toString(id_key)), ',') AS some
FROM
(
    SELECT id_key
    FROM usage_id_places
    WHERE id_key >= {from:UInt64} AND id_key <= {through:UInt64}
    GROUP BY id_key
    HAVING count() > 1
)
