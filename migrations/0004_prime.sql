-- Requests to load entries into Redis before anybody asks for them. A worker takes them one after the other; it starts
-- again with one that it did not finish, which costs little: what is in Redis already is passed over.
CREATE TABLE prime_requests (
    id           bigint           GENERATED ALWAYS AS IDENTITY,
    instance     text COLLATE "C" NOT NULL,
    prefix       text COLLATE "C" NOT NULL,
    -- How many keys, and which of them first: the last written, or those first in the order of keys.
    key_limit    integer          NOT NULL,
    newest_first boolean          NOT NULL,
    -- Made by a worker that found Redis empty, and not by a client.
    automatic    boolean          NOT NULL,
    examined     integer          NOT NULL DEFAULT 0,
    filled       integer          NOT NULL DEFAULT 0,
    requested_at timestamptz      NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    -- Why it was given up.
    failure      text,

    CONSTRAINT prime_requests_pkey  PRIMARY KEY (id),
    CONSTRAINT prime_requests_limit CHECK (key_limit BETWEEN 1 AND 100000)
);
