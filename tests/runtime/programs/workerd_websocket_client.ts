import { createWebSocket } from "../../../src/runtime/workerd.ts";
import { runJobs } from "./websocket_client.ts";

/** Run by `workerd test`, which trusts what its configuration says. */
export default {
  async test(_controller: unknown, env: { readonly input: string }): Promise<void> {
    console.log(`result ${JSON.stringify(await runJobs(createWebSocket(), JSON.parse(env.input)))}`);
  },
};
