/**
 * Runs the browser tests: node tests/e2e/run_browser.mjs [file …]
 *
 * In a network namespace of their own (no root needed), with a veth address because browsers give
 * no loopback candidates. Ends with node's summary: "# pass N", "# fail N". BUILD names the build
 * directory with sori-server and sori-turn, build/gcc by default.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const tests = dirname(here);

const NETWORK = `
  ip link set lo up &&
  ip link add media0 type veth peer name media1 &&
  ip addr add 10.77.0.1/24 dev media0 &&
  ip link set media0 up && ip link set media1 up && exec "$@"`;

if (!existsSync(join(tests, 'node_modules', 'playwright-core'))) {
  const npm = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: tests, stdio: ['ignore', 'inherit', 'inherit'] });
  if (npm.status !== 0) process.exit(npm.status ?? 1);
}
const named = process.argv.slice(2);
const files = named.length > 0 ? named
  : readdirSync(here).filter((f) => f.endsWith('_web_test.mjs')).sort().map((f) => join(here, f));
const run = spawnSync('unshare', ['-rn', 'sh', '-c', NETWORK, 'sh',
  process.execPath, '--test', '--test-concurrency=1', '--test-reporter=tap', ...files], { stdio: 'inherit' });
process.exit(run.status ?? 1);
