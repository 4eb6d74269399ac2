import { createWebSocket } from "../../../src/runtime/workerd.ts";
import { runJobs } from "./protected_client.ts";

/** Run by `workerd test`, which trusts what its configuration says. */
export default {
  async test(_controller: unknown, env: { readonly input: string }): Promise<void> {
    const output = await runJobs((input, init) => fetch(input, init), createWebSocket(), JSON.parse(env.input));
    console.log(`result ${JSON.stringify(output)}`);
  },
};
