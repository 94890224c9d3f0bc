//! The Lua scripts that keep copies from going stale.
//!
//! Of the two exact rules the simpler one is used: a write replaces an older entry of this generation and otherwise
//! deletes what is there; only a reader's leased fill stores into an absent key. So a delayed write can never bring
//! back what eviction, expiry or a newer write has removed.

use redis::Script;

use super::slot::{CREATED_AT, HEADER_LEN};

/// The scripts, hashed once.
#[derive(Debug)]
pub(super) struct Scripts {
    /// `KEYS: slot; ARGV: generation, version, new slot, lifetime in ms`. Returns the `created_at` that an entry took
    /// over from the one it replaced, an empty string when it took over none, or nil when nothing was stored.
    pub(super) write: Script,
    /// `KEYS: slot; ARGV: generation, lease slot, lifetime in ms`. Returns 1 when the lease was taken.
    pub(super) lease: Script,
    /// `KEYS: slot; ARGV: lease slot, new slot, lifetime in ms`. Returns 1 when it was stored over the own lease.
    pub(super) fill: Script,
    /// `KEYS: slots; ARGV: bytes`. Returns the slots of the first keys, until they have more than so many bytes.
    pub(super) get_some: Script,
    /// `KEYS: slots; ARGV: generation, version of each`. Deletes whatever is not an entry or tombstone of this
    /// generation with at least that version, leases included. Returns how many.
    pub(super) invalidate: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        // Lua counts from 1 and includes the end.
        let created_first = CREATED_AT.start + 1;
        let created_last = CREATED_AT.end;
        let until_created = CREATED_AT.end - 1;
        let header_end = HEADER_LEN - 1;
        Self {
            write: Script::new(&format!(
                r"
local old = redis.call('GETRANGE', KEYS[1], 0, {until_created})
if old == '' then return false end
local kind = string.sub(old, 1, 1)
if (kind == 'E' or kind == 'T') and string.sub(old, 2, 17) == ARGV[1] then
  if string.sub(old, 18, {HEADER_LEN}) >= ARGV[2] then return false end
  local slot, created = ARGV[3], ''
  if kind == 'E' and string.sub(slot, 1, 1) == 'E' then
    created = string.sub(old, {created_first}, {created_last})
    slot = string.sub(slot, 1, {created_first} - 1) .. created .. string.sub(slot, {created_last} + 1)
  end
  redis.call('SET', KEYS[1], slot, 'PX', ARGV[4])
  return created
end
redis.call('DEL', KEYS[1])
return false
"
            )),
            lease: Script::new(
                r"
local old = redis.call('GETRANGE', KEYS[1], 0, 16)
if old ~= '' and string.sub(old, 2, 17) == ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
",
            ),
            fill: Script::new(&format!(
                r"
if redis.call('GETRANGE', KEYS[1], 0, {header_end}) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"
            )),
            get_some: Script::new(
                r"
local slots, bytes, most = {}, 0, tonumber(ARGV[1])
for i = 1, #KEYS do
  local slot = redis.call('GET', KEYS[i])
  slots[i] = slot
  if slot then bytes = bytes + #slot end
  if bytes > most then break end
end
return slots
",
            ),
            invalidate: Script::new(&format!(
                r"
local deleted = 0
for i = 1, #KEYS do
  local old = redis.call('GETRANGE', KEYS[i], 0, {header_end})
  local kind = string.sub(old, 1, 1)
  local entry = (kind == 'E' or kind == 'T') and string.sub(old, 2, 17) == ARGV[1]
  if old ~= '' and not (entry and string.sub(old, 18, {HEADER_LEN}) >= ARGV[i + 1]) then
    redis.call('DEL', KEYS[i])
    deleted = deleted + 1
  end
end
return deleted
"
            )),
        }
    }
}
