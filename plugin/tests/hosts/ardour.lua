-- Makes an Ardour session whose track plays the VST3, or, if it is there already, opens it again.
--
-- ardour7-lua ardour.lua FOLDER: `run.sh` renders it before and after.
local folder = arg[1]
local backend = AudioEngine:set_backend("None (Dummy)", "", "")
assert(not backend:isnil())

local function count(session)
  local n = 0
  for _ in session:get_tracks():iter() do n = n + 1 end
  return n
end

local file = io.open(folder .. "/session/session.ardour", "r")
if file then
  file:close()
  local session = load_session(folder .. "/session", "session")
  assert(session and count(session) == 1, "the session's track is gone")
  for track in session:get_tracks():iter() do
    assert(not track:nth_plugin(1):isnil(), "the track's plugin is gone")
    print("reopened with", track:nth_plugin(1):to_insert():plugin(0):name())
  end
  session:save_state("")
else
  local session = create_session(folder .. "/session", "session", 48000)
  assert(session, "no session")
  local notes = ARDOUR.LuaAPI.new_luaproc(session, "audiodiff test notes")
  local plugin = ARDOUR.LuaAPI.new_plugin(session, "audiodiff", ARDOUR.PluginType.VST3, "")
  assert(not notes:isnil() and not plugin:isnil(), "Ardour does not know the plugin")
  local midi, audio = ARDOUR.DataType("midi"), ARDOUR.DataType("audio")
  local tracks = session:new_midi_track(ARDOUR.ChanCount(midi, 1), ARDOUR.ChanCount(audio, 2), true,
    ARDOUR.PluginInfo(), nil, nil, 1, "pads", 0, ARDOUR.TrackMode.Normal, true)
  -- A thread of Ardour's own connects the ports of a new or changed track. It does not bear another change meanwhile:
  -- Ardour 7 then stops for ever, or ends with "Port already exists".
  for track in tracks:iter() do
    sleep(2)
    assert(track:add_processor_by_index(notes, 0, nil, true) == 0)
    sleep(2)
    assert(track:add_processor_by_index(plugin, 1, nil, true) == 0)
  end
  -- The pads make their first sounds.
  sleep(20)
  session:save_state("")
end
close_session()
quit()
