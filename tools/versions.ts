// Keeps the versions of the runtimes that the tests fetch in one place, so that two tools cannot test different ones.

/** The Deno that runs the tasks; `.ci/run` and the README name the same version. */
export const DENO_VERSION = "2.9.6";

/** The Bun that `npx` fetches for the Bun suite. */
export const BUN_VERSION = "1.4.5";

/** The workerd that `npx` fetches for the workerd suite. */
export const WORKERD_VERSION = "1.20261117.1";
