import { runJobs } from "./mtls_client.ts";

/** Run by `workerd test`, which shows the certificate of its configuration. */
export default {
  async test(_controller: unknown, env: { readonly urls: string }): Promise<void> {
    const output = await runJobs([(input, init) => fetch(input, init)], JSON.parse(env.urls));
    console.log(`result ${JSON.stringify(output)}`);
  },
};
