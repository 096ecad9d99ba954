// Works with a node over Kubo's RPC as programs in JavaScript do, with kubo-rpc-client, and says what came back, one JSON
// object.
//
//   node rpc.mjs URL
//
// URL is that of the RPC, without /api/v0. Exit codes: 0 done, 1 a call failed or gave something else than was put in,
// 2 wrong arguments.

import { create } from 'kubo-rpc-client'
import assert from 'node:assert/strict'

const [url] = process.argv.slice(2)

if (url == null) {
  process.stderr.write('usage: rpc.mjs URL\n')
  process.exit(2)
}

async function all (source) {
  const found = []
  for await (const item of source) found.push(item)
  return found
}

const bytes = async source => Buffer.concat(await all(source))
const text = async source => (await bytes(source)).toString()
const ipfs = create({ url })
const seen = {}

const id = await ipfs.id()
seen.id = id.id.toString()
seen.version = (await ipfs.version()).version

const added = await ipfs.add('hello from a client', { cidVersion: 1, rawLeaves: true })
seen.file = added.cid.toString()
assert.equal(await text(ipfs.cat(added.cid)), 'hello from a client')
assert.equal(await text(ipfs.cat(added.cid, { offset: 6, length: 4 })), 'from')

const tree = await all(ipfs.addAll([
  { path: 'top/a.txt', content: 'a' },
  { path: 'top/deep/b.txt', content: new Uint8Array(300_000).fill(7) }
], { cidVersion: 1, wrapWithDirectory: false }))
const root = tree.at(-1)
seen.root = root.cid.toString()
seen.paths = tree.map(entry => entry.path)
seen.listed = (await all(ipfs.ls(root.cid))).map(entry => [entry.name, entry.type, entry.size])
assert.equal((await bytes(ipfs.cat(`/ipfs/${root.cid}/deep/b.txt`))).length, 300_000)

const put = await ipfs.block.put(new TextEncoder().encode('a block'), { format: 'raw', version: 1 })
seen.block = put.toString()
assert.equal(Buffer.from(await ipfs.block.get(put)).toString(), 'a block')
seen.blockSize = (await ipfs.block.stat(put)).size

const node = await ipfs.dag.put({ name: 'x', link: put, list: [1, 2, 3] })
seen.node = node.toString()
assert.deepEqual((await ipfs.dag.get(node)).value.list, [1, 2, 3])
assert.equal((await ipfs.dag.get(node, { path: '/name' })).value, 'x')
seen.resolved = (await ipfs.dag.resolve(node, { path: '/link' })).cid.toString()
const car = await bytes(ipfs.dag.export(root.cid))
seen.carBytes = car.length
seen.imported = (await all(ipfs.dag.import([car]))).map(({ root }) => root.cid.toString())

await ipfs.pin.add(node)
seen.pinned = (await all(ipfs.pin.ls({ paths: node }))).map(pin => [pin.cid.toString(), pin.type])
await ipfs.pin.rm(node)
seen.refs = (await all(ipfs.refs(root.cid, { recursive: true }))).map(({ ref }) => ref)

const key = await ipfs.key.gen('client', { type: 'ed25519' })
seen.keys = (await ipfs.key.list()).map(key => key.name)
const published = await ipfs.name.publish(root.cid, { key: 'client', allowOffline: true, resolve: false })
assert.equal(published.name, key.id)
seen.value = published.value
seen.name = await all(ipfs.name.resolve(key.id))
await ipfs.key.rename('client', 'renamed')
await ipfs.key.rm('renamed')

seen.peers = (await ipfs.swarm.peers()).length
seen.objects = Number((await ipfs.repo.stat()).numObjects) > 0
await assert.rejects(ipfs.pin.rm(node), /not pinned/)
await assert.rejects(ipfs.key.rm('nothing'), /no key named nothing/)

process.stdout.write(JSON.stringify(seen) + '\n')
