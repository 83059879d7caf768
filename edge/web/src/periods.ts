// How long things are kept, as far as the scripts need it. The table of all periods is core/src/retention; a test compares.

/** How long a deleted master can be restored, ms. */
export const UNDO_MS = 30_000;
/** How long the code and the link of a sign-in work, ms. */
export const SIGN_IN_MS = 900_000;
/** How long an upload and the master made last are remembered, ms. */
export const BROWSER_MEMORY_MS = 604_800_000;
/** How long a download waits for a sign-in, ms. */
export const BROWSER_PENDING_MS = 3_600_000;
