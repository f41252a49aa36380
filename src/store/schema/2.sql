-- Names the holder's process so that its end can be seen on the same machine; empty
-- where that cannot be told.
ALTER TABLE leases ADD COLUMN process TEXT;
